"""The columns of a study's tables, and which of them fit; builds rich renderables and prints nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from harness.answer import mean_cells, rank_cells
from harness.digest import latest_and_best, trial_left_s
from harness.result import Result
from harness.status import StudyStatus
from harness.trial_status import TrialStatus
from harness.types import Objective, TrialState
from harness.wording import MISSING, aligned, cause, duration, knob_cells, short_names, shortened, sparkline

STYLES = {
    TrialState.WAITING: "dim",
    TrialState.RUNNING: "cyan",
    TrialState.COMPLETE: "green",
    TrialState.PRUNED: "yellow",
    TrialState.FAIL: "red",
}
GAP = 2  # the box draws one of them
_SHORT_TITLE = 9


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """On a narrow terminal `narrow` stands in; where that is not enough, columns of a higher `keep` give way first."""

    title: str
    cells: Sequence[str | Text]
    keep: int
    right: bool = True
    style: str = ""
    narrow: Column | None = None

    @property
    def width(self) -> int:
        return max([len(self.title), *(len(cell) for cell in self.cells)])


def live_columns(status: StudyStatus, trials: Sequence[TrialStatus], now: float) -> list[Column]:
    objective = status.record.objectives[0]
    values = [latest_and_best(trial, objective) for trial in trials]
    finite = [value for trial in trials for _, value in trial.curve if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    return [
        _number_column(status, trials),
        _state_column(trials),
        *_knob_columns(status, trials),
        *_seed_column(status, trials),
        Column(title="step", cells=[_progress(trial) for trial in trials], keep=4),
        Column(title="value", cells=aligned([latest for latest, _ in values]), keep=1, style="bold"),
        Column(title="best", cells=aligned([best for _, best in values]), keep=7),
        replace(_curve_column(trials, low, high, 12), narrow=_curve_column(trials, low, high, 8)),
        Column(
            title="slot", cells=[trial.slot or "" if trial.state is TrialState.RUNNING else "" for trial in trials], keep=9, right=False
        ),
        Column(title="time", cells=[duration(trial.seconds) for trial in trials], keep=8, style="dim"),
        Column(title="left", cells=[duration(trial_left_s(trial, now)) for trial in trials], keep=6),
    ]


def ranked_columns(status: StudyStatus, trials: Sequence[TrialStatus], result: Result | None) -> list[Column]:
    """Where configurations have several seeds, their means stand beside their first trials."""
    objectives = status.record.objectives
    titles = ["value"] if len(objectives) == 1 else short_names([objective.metric.replace("/", ".") for objective in objectives]).values()
    columns = [aligned([_value(trial, index, objectives) for trial in trials]) for index in range(len(objectives))]
    values = [
        Column(title=title, cells=cells, keep=index, style="" if index else "bold")
        for index, (title, cells) in enumerate(zip(titles, columns, strict=True))
    ]
    return [
        Column(title="#", cells=rank_cells(trials, result), keep=6, style="dim"),
        _number_column(status, trials, result),
        *_mean_column(trials, result),
        *values,
        _state_column(trials),
        *_knob_columns(status, trials),
        *_seed_column(status, trials),
        Column(title="step", cells=[_progress(trial) for trial in trials], keep=4),
        Column(title="time", cells=[duration(trial.seconds) for trial in trials], keep=5),
        Column(title="start-up", cells=[duration(trial.startup_s) for trial in trials], keep=7, style="dim"),
    ]


def _value(trial: TrialStatus, index: int, objectives: Sequence[Objective]) -> float | None:
    """The objective's number; of the first one also how far a trial came that ended without one."""
    if trial.values and index < len(trial.values):
        return trial.values[index]
    return latest_and_best(trial, objectives[0])[0] if index == 0 else None


def _number_column(status: StudyStatus, trials: Sequence[TrialStatus], result: Result | None = None) -> Column:
    """★: best; ≈: of a configuration that cannot be told from the best one."""
    stars = set(status.pareto) or ({status.best.number} if status.best else set())
    tied: set[int] = set()
    if result is not None:
        stars |= set(result.best.trials) if result.replicated else set()
        tied = {number for one in result.others if one.configuration in result.ties for number in one.trials}
    marks = ["★ " if trial.number in stars else "≈ " if trial.number in tied else "" for trial in trials]
    cells = [Text.assemble((mark, "bold green"), str(trial.number)) for mark, trial in zip(marks, trials, strict=True)]
    return Column(title="trial", cells=cells, keep=0)


def _mean_column(trials: Sequence[TrialStatus], result: Result | None) -> list[Column]:
    """None where every configuration has one seed."""
    if result is None or not result.replicated:
        return []
    return [Column(title="mean", cells=mean_cells(trials, result), keep=1, style="bold")]


def _state_column(trials: Sequence[TrialStatus]) -> Column:
    def column(words: Sequence[str]) -> Column:
        cells = [Text(word, style=_style(trial)) for word, trial in zip(words, trials, strict=True)]
        return Column(title="state", cells=cells, keep=2, right=False)

    whole = ["RUNNING nobody" if trial.deserted else cause(trial.state, trial.reason) for trial in trials]
    return replace(column(whole), narrow=column(["NOBODY" if trial.deserted else str(trial.state) for trial in trials]))


def _curve_column(trials: Sequence[TrialStatus], low: float, high: float, width: int) -> Column:
    """One scale for all curves, so that they can be compared."""
    curves = (sparkline(trial.curve, total_steps=trial.total_steps, low=low, high=high, width=width) for trial in trials)
    cells = [Text(curve, style=_style(trial)) for curve, trial in zip(curves, trials, strict=True)]
    return Column(title="curve", cells=cells, keep=5, right=False)


def _knob_columns(status: StudyStatus, trials: Sequence[TrialStatus]) -> list[Column]:
    """The first three stay longest, for a table without knobs says nothing."""
    columns = []
    for index, (knob, name) in enumerate(short_names(status.record.knobs).items()):
        cells = knob_cells([trial.params.get(knob, MISSING) for trial in trials])
        keep = 3 if index < 3 else 10 + index
        columns.append(replace(_padded(name, cells, keep), narrow=_padded(shortened(name, _SHORT_TITLE), cells, keep)))
    return columns


def _padded(title: str, cells: Sequence[str], keep: int) -> Column:
    """To the right by spaces, because rich drops the spaces at a cell's end that keep decimal points below each other."""
    width = max([len(title), *(len(cell) for cell in cells)])
    return Column(title=title.rjust(width), cells=[cell.rjust(width) for cell in cells], keep=keep, right=False)


def _seed_column(status: StudyStatus, trials: Sequence[TrialStatus]) -> list[Column]:
    """None where every trial has the same seed, or the seed is a knob."""
    seeds = {trial.seed for trial in status.trials}
    if len(seeds) < 2 or any(knob.rpartition(".")[2] == "seed" for knob in status.record.knobs):
        return []
    return [Column(title="seed", cells=["" if trial.seed is None else str(trial.seed) for trial in trials], keep=8)]


def _place(trial: TrialStatus) -> str:
    """Where it runs; a slot that it has left is another's."""
    return trial.slot or "" if trial.state is TrialState.RUNNING else ""


def _progress(trial: TrialStatus) -> str:
    if not trial.steps and trial.state is TrialState.RUNNING and trial.training_at is None:
        return "starting"
    return f"{trial.steps}/{trial.total_steps}" if trial.total_steps else str(trial.steps)


def _style(trial: TrialStatus) -> str:
    return "red" if trial.deserted else STYLES[trial.state]


def grid(columns: Sequence[Column], width: int) -> Table:
    """The columns that fit; no cell ever wraps, and what stands in square brackets is no markup."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
    table.header_style, table.border_style = "dim", "bright_black"
    chosen = fitting(columns, width)
    for column in chosen:
        table.add_column(
            Text(column.title), justify="right" if column.right else "left", style=column.style, no_wrap=True, overflow="ellipsis"
        )
    for cells in zip(*(column.cells for column in chosen), strict=True):
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))
    return table


def fitting(columns: Sequence[Column], width: int) -> list[Column]:
    """All of them, else their narrow forms, else all but the columns that give way: the highest `keep` first, of equal ones the last."""
    left = list(columns)
    if taken(left) > width:
        left = [column.narrow or column for column in columns]
    while len(left) > 1 and taken(left) > width:
        del left[max(range(len(left)), key=lambda index: (left[index].keep, index))]
    return left


def taken(columns: Iterable[Column]) -> int:
    return sum(column.width + GAP for column in columns) - GAP

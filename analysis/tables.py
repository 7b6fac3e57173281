"""The list of studies, and one trial in full, for a terminal; builds rich renderables and prints nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.columns import STYLES, Column, grid
from harness.digest import latest_and_best
from harness.paths import StudyPaths, TrialPaths
from harness.status import StudyStatus
from harness.trial_status import TrialStatus, read_quietly
from harness.types import Failure, GpuUse, StudyRecord, TrialState
from harness.wording import cause, definition, duration, exact, sparkline


def studies_table(studies: Sequence[StudyStatus], width: int) -> RenderableType:
    """One row a study, as they come."""
    columns = [
        Column(title="study", cells=[status.record.name for status in studies], keep=0, right=False),
        Column(title="", cells=[_activity(status) for status in studies], keep=3, right=False),
        Column(title="trials", cells=[_told(status) for status in studies], keep=1),
        *(
            Column(title=state.lower(), cells=[Text(str(status.counts[state] or ""), style=STYLES[state]) for status in studies], keep=5)
            for state in (TrialState.RUNNING, TrialState.PRUNED, TrialState.FAIL)
        ),
        Column(title="best", cells=[_best(status) for status in studies], keep=2, style="bold"),
        Column(title="trial", cells=[str(status.best.number) if status.best else "" for status in studies], keep=4),
        Column(title="took", cells=[duration(status.elapsed_s) for status in studies], keep=6),
        Column(title="created", cells=[_date(status.record.created_at) for status in studies], keep=4, right=False),
        Column(title="objective", cells=[status.record.objectives[0].metric for status in studies], keep=8, right=False, style="dim"),
    ]
    return grid(columns, width)


def _told(status: StudyStatus) -> str:
    """Ended of asked for; where full runs are asked for, how many of these are spent."""
    if status.full_runs is None:
        return f"{status.told}/{status.record.n_trials}"
    return f"{status.told}, {status.full_runs:.1f}/{status.record.n_trials} full runs"


def trial_block(study: StudyPaths, record: StudyRecord, trial: TrialStatus) -> RenderableType:
    """Everything there is to know of a trial."""
    latest, best = latest_and_best(trial, record.objectives[0])
    finite = [value for _, value in trial.curve if math.isfinite(value)]
    curve = sparkline(trial.curve, total_steps=trial.total_steps, low=min(finite, default=0), high=max(finite, default=1), width=40)
    facts: list[tuple[str, RenderableType | None]] = [
        ("state", Text(cause(trial.state, trial.reason), style=STYLES[trial.state])),
        ("message", Text(trial.message)),
        *(
            (f"value {index + 1}" if len(record.objectives) > 1 else "value", Text(text))
            for index, text in enumerate(_values(record, trial))
        ),
        ("last", None if trial.values or latest is None else Text(f"{latest:.6g}  {record.objectives[0].metric}")),
        ("best", None if best is None else Text(f"{best:.6g}")),
        ("curve", Text(curve, style=STYLES[trial.state]) if curve else None),
        ("steps", Text(f"{trial.steps}/{trial.total_steps}" if trial.total_steps else str(trial.steps))),
        ("attempts", Text(str(trial.attempts))),
        *((f"attempt {number}", _failure(failure)) for number, failure in failures(study.trial(trial.number))),
        ("time", Text(duration(trial.seconds)) if trial.seconds is not None else None),
        ("start-up", Text(duration(trial.startup_s)) if trial.startup_s is not None else None),
        ("phases", _phases(trial.phases) if trial.phases else None),
        ("slot", Text(f"{trial.slot}  {trial.engine or ''}") if trial.slot else None),
        ("GPU-hours", Text(f"{trial.gpu_seconds / 3600:.3f}") if trial.gpu_seconds else None),
        ("GPU", _gpu(trial.gpu) if trial.gpu else None),
        ("seed", Text(str(trial.seed)) if trial.seed is not None else None),
        ("configuration", Text(trial.configuration)),
        ("folder", Text(str(study.trial(trial.number).root))),
    ]
    rows = Table.grid(padding=(0, 2, 0, 0))
    for name, fact in facts:
        if fact is not None and str(fact):
            rows.add_row(Text(name, style="dim"), fact)
    longest = max((len(knob) for knob in trial.params), default=0)
    knobs = [Text.assemble(f"{knob:<{longest}}  = ", (exact(value), "bold")) for knob, value in trial.params.items()]
    title = Text.assemble((f"trial {trial.number}", "bold"), f" of {record.name}")
    return Padding(Group(title, Text(), *knobs, Text(), rows), 1)


def failures(trial: TrialPaths) -> list[tuple[int, Failure]]:
    """The attempts of a trial that failed, and why."""
    known = ((attempt.number, read_quietly(attempt.failure, Failure)) for attempt in trial.attempts())
    return [(number, failure) for number, failure in known if failure is not None]


def _failure(failure: Failure) -> Text:
    """The class, the lines of the log that say it, and what the next attempt did otherwise."""
    kind = failure.kind.value.replace("_", " ") + (f" of the {failure.part}" if failure.part else "")
    mended = [f"again with {key}={value}" for key, value in failure.repair.items()]
    return Text("\n").join([Text(kind, style="red"), *(Text(line, style="dim") for line in failure.lines), *map(Text, mended)])


def _phases(seconds: Mapping[str, float]) -> Text:
    return Text("  ".join(f"{phase} {spent:.1f}s" if spent < 60 else f"{phase} {duration(spent)}" for phase, spent in seconds.items()))


def _gpu(use: GpuUse) -> Text:
    """Peak memory by role, then rates and energy as far as they were measured."""
    words = ["peak " + ", ".join(f"{role} {peak:.1f} GiB" for role, peak in use.peak_gib.items())]
    words += [f"MFU {use.mfu:.1%}"] if use.mfu is not None else []
    words += [f"{use.tokens_per_s:,.0f} tokens/s"] if use.tokens_per_s is not None else []
    words += [f"{use.energy_kj:.1f} kJ"] if use.energy_kj is not None else []
    return Text("  ".join(words))


def _values(record: StudyRecord, trial: TrialStatus) -> list[str]:
    return [f"{value:.6g}  {definition(o)}" for o, value in zip(record.objectives, trial.values or (), strict=False)]


def _best(status: StudyStatus) -> str:
    known = status.best_mean()
    return "" if known is None else f"{known[0]:.4g}"


def _activity(status: StudyStatus) -> Text:
    if status.controller_alive:
        return Text("running", style="cyan")
    return Text("ended", style="green") if status.ended else Text("elsewhere" if status.elsewhere else "not running", style="yellow")


def _date(at: float) -> str:
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M")

"""What came of a policy over all tasks and repetitions: as plain data and as a table; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from sweeps.replay.play import Played
from sweeps.replay.tasks import Task

_RESAMPLES = 2000  # of the bootstrap
_COVERAGE = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskVerdict:
    """Of a policy on one task, repetition by repetition."""

    name: str
    regrets: tuple[float, ...]
    full_runs: tuple[float, ...]
    clocks: tuple[float, ...]
    picks: tuple[int | str, ...]


def judge(task: Task, played: Sequence[Played]) -> TaskVerdict:
    regrets = task.regrets()
    return TaskVerdict(
        name=task.name,
        regrets=tuple(regrets[one.pick] for one in played),
        full_runs=tuple(one.full_runs for one in played),
        clocks=tuple(one.clock for one in played),
        picks=tuple(task.labels[one.pick] for one in played),
    )


def as_data(verdicts: Sequence[TaskVerdict]) -> dict[str, Any]:
    """Regret is the share of all configurations that are truly better than the one picked; costs and times are in full trainings."""
    regret_tr = np.array([verdict.regrets for verdict in verdicts])
    full_runs = [spent for verdict in verdicts for spent in verdict.full_runs]
    return {
        "mean_regret": float(regret_tr.mean()),
        "regret_interval": interval(regret_tr.mean(axis=0)),
        "regret_interval_of_tasks": interval(regret_tr.mean(axis=1)),
        "full_runs": float(np.mean(full_runs)),
        "most_full_runs": max(full_runs),
        "wall": float(np.mean([clock for verdict in verdicts for clock in verdict.clocks])),
        "tasks": {verdict.name: _task_data(verdict) for verdict in verdicts},
    }


def _task_data(verdict: TaskVerdict) -> dict[str, Any]:
    return {
        "regret": float(np.mean(verdict.regrets)),
        "regret_interval": interval(verdict.regrets),
        "full_runs": float(np.mean(verdict.full_runs)),
        "picks": list(verdict.picks),
    }


def interval(values: Sequence[float]) -> list[float] | None:
    """95 % of the mean of these, by the percentile bootstrap (Efron 1979); None: one value has none."""
    if len(values) < 2:
        return None
    drawn = np.random.default_rng(0).choice(np.asarray(values), (_RESAMPLES, len(values))).mean(axis=1)
    return [float(end) for end in np.quantile(drawn, ((1 - _COVERAGE) / 2, (1 + _COVERAGE) / 2))]


def as_table(by_policy: Mapping[str, Mapping[str, Any]]) -> Table:
    """A row for each task, the mean last; of a policy its regret with the interval over repetitions, and the full runs that it spent."""
    table = Table("task")
    for name in by_policy:
        table.add_column(f"{name}: regret", justify="right")
        table.add_column("full runs", justify="right")
    for task in next(iter(by_policy.values()))["tasks"]:
        table.add_row(task, *(cell for data in by_policy.values() for cell in _cells(data["tasks"][task], data["tasks"][task]["regret"])))
    table.add_section()
    table.add_row("mean", *(cell for data in by_policy.values() for cell in _cells(data, data["mean_regret"])))
    return table


def _cells(data: Mapping[str, Any], regret: float) -> tuple[str, str]:
    between = data["regret_interval"]
    ends = "" if between is None else f" ({between[0]:.3f} to {between[1]:.3f})"
    return f"{regret:.3f}{ends}", f"{math.floor(data['full_runs'] * 10) / 10:.1f}"

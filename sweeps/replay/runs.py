"""Reads trainings that ran without this harness as a task, as `harness.runs` has them; refuses those that nothing can be learned of.

A run that was stopped is left out, unless it ends with NaN: how it would have ended nobody knows.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from harness.errors import ConfigError
from harness.runs.nouns import Found, Run, Wishes
from harness.runs.read import read_runs
from harness.types import Params, Reason, TrialState
from sweeps.replay.past import whole
from sweeps.replay.tasks import Recorded, Task, aligned


def read_trainings(source: str, wishes: Wishes) -> Task:
    """Raises ConfigError, and TrackerError where W&B's server does not give what it is asked for."""
    with tempfile.TemporaryDirectory(prefix="verl-study-") as spool:
        found = read_runs(source, wishes, Path(spool))
    params: dict[str, Params] = {}
    labels: dict[str, str] = {}
    curves: dict[str, dict[int, Recorded]] = {}
    for run in found.runs:
        if (curve := _recorded(run)) is not None:
            labels.setdefault(run.configuration, run.told.name)
            params.setdefault(run.configuration, run.told.params or {})
            curves.setdefault(run.configuration, {}).setdefault(run.seed, curve)
    if len(curves) < 2:
        raise ConfigError(_too_few(found, len(curves)))
    return Task(
        name=found.name,
        labels=tuple(labels.values()),
        params=tuple(params.values()),
        curves_cs=aligned(curves.values()),
        objective=found.objective,
        total_steps=max(curve[-1][0] for seeds in curves.values() for curve in seeds.values()),
    )


def _recorded(run: Run) -> Recorded | None:
    diverged = run.end.reason is Reason.NON_FINITE
    return whole(run.curve, diverged=diverged) if diverged or run.end.state is TrialState.COMPLETE else None


def _too_few(found: Found, count: int) -> str:
    several = "" if count == 1 else "s"
    return (
        f"{found.origin}: {count} configuration{several} that logged {found.objective.metric} to their end; a replay needs two at least; "
        "runs.yaml beside them says what each run is"
    )

"""Reads a past study of ours as a task: its configurations, each with the curves of its trials; refuses one that nothing can be learned of.

Candidates are configurations with a trial that trained to its end, or diverged on its way there. What a pruner, a guard or a person
stopped is left out: nobody knows how it would have ended, and a forecast in its place would be judged by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from harness import records
from harness.errors import ConfigError, RecordError
from harness.paths import StudyPaths, TrialPaths
from harness.types import Objective, Params, Reason, StudyRecord, TrialResult, TrialSpec, TrialState
from sweeps.live_trial import curve_of
from sweeps.replay.tasks import Recorded, Task, aligned

T = TypeVar("T")


def read_study(paths: StudyPaths) -> Task:
    """Raises ConfigError."""
    record = _read(paths.record, StudyRecord)
    if len(record.objectives) > 1:
        raise ConfigError(f"{paths.root} has {len(record.objectives)} objectives; a replay needs a study of one")
    objective = record.objectives[0]
    labels: dict[str, int] = {}
    params: dict[str, Params] = {}
    curves: dict[str, dict[int, Recorded]] = {}  # by configuration and seed
    for trial in paths.trials():
        curve = _recorded(trial, objective) if trial.spec.exists() else None
        if curve is None:
            continue
        spec = _read(trial.spec, TrialSpec)
        labels.setdefault(spec.configuration, spec.number)
        params.setdefault(spec.configuration, spec.params)
        curves.setdefault(spec.configuration, {}).setdefault(spec.seed, curve)
    if len(curves) < 2:
        raise ConfigError(f"{paths.root} has {len(curves)} configurations that trained to their end; a replay needs two at least")
    return Task(
        name=record.name,
        labels=tuple(labels.values()),
        params=tuple(params.values()),
        curves_cs=aligned(curves.values()),
        objective=objective,
        total_steps=max(curve[-1][0] for seeds in curves.values() for curve in seeds.values()),
        space=record.space,
    )


def _recorded(trial: TrialPaths, objective: Objective) -> Recorded | None:
    """As it was reported; None where it did not train to its end, nor diverged."""
    result = _read(trial.result, TrialResult) if trial.result.exists() else None
    if result is None or not (result.state is TrialState.COMPLETE or result.reason is Reason.NON_FINITE):
        return None
    return whole(curve_of(objective, trial.attempts()).values, diverged=result.state is not TrialState.COMPLETE)


def whole(values: Mapping[int, float], *, diverged: bool) -> Recorded | None:
    """Values by step, without step 0, the untrained model, at which no time has passed; None: not one."""
    points = sorted((step, value) for step, value in values.items() if step > 0)
    if diverged:
        points.append((points[-1][0] + 1 if points else 1, math.nan))
    return tuple(points) or None


def _read(path: Path, kind: type[T]) -> T:
    try:
        return records.read(path, kind)
    except (RecordError, OSError) as error:
        raise ConfigError(str(error)) from error

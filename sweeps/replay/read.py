"""Reads what was recorded, whichever form a source has; refuses one that has none of them."""

from __future__ import annotations

from pathlib import Path

from harness.errors import ConfigError
from harness.paths import StudyPaths
from harness.runs.nouns import Wishes
from harness.runs.source import PROJECT, is_source
from sweeps.replay.curves import read_curves
from sweeps.replay.past import read_study
from sweeps.replay.runs import read_trainings
from sweeps.replay.tasks import Task

_NONE = Wishes()


def read_tasks(source: str | Path, wishes: Wishes = _NONE) -> tuple[Task, ...]:
    """One task a file of curves; one in all of a past study, and of trainings that ran elsewhere. Raises ConfigError or TrackerError."""
    if str(source).startswith(PROJECT):
        return (read_trainings(str(source), wishes),)
    folder = Path(source)
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder; give one of curves (*.npz), of a past study, of verl's metrics (*.jsonl) or of W&B runs")
    if StudyPaths(folder).record.is_file():
        _refuse(wishes, f"{folder} is a study, which has its own objective")
        return (read_study(StudyPaths(folder)),)
    if files := sorted(folder.glob("*.npz")):
        _refuse(wishes, f"{folder} holds curves, which have no metrics")
        return tuple(read_curves(file) for file in files)
    if is_source(folder):
        return (read_trainings(str(folder), wishes),)
    study = StudyPaths(folder).record.name
    raise ConfigError(f"{folder} holds no recorded curves (*.npz), no study ({study}), no verl metrics (*.jsonl) and no W&B runs")


def _refuse(wishes: Wishes, why: str) -> None:
    if wishes != _NONE:
        raise ConfigError(f"{why}: --objective, --reduction, --group and --tag are for runs of other making")

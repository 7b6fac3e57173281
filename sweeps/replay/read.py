"""Reads what was recorded, whichever form a folder has; refuses one that has none of them."""

from __future__ import annotations

from pathlib import Path

from harness.errors import ConfigError
from harness.paths import StudyPaths
from sweeps.replay.curves import read_curves
from sweeps.replay.past import read_study
from sweeps.replay.runs import read_runs
from sweeps.replay.tasks import Task


def read_tasks(folder: Path) -> tuple[Task, ...]:
    """One task a file of curves; one in all of a past study, and of a folder of verl's metric files. Raises ConfigError."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder; give one of recorded curves (*.npz), of a past study, or of verl's metrics (*.jsonl)")
    if StudyPaths(folder).record.is_file():
        return (read_study(StudyPaths(folder)),)
    if files := sorted(folder.glob("*.npz")):
        return tuple(read_curves(file) for file in files)
    if any(folder.glob("*.jsonl")):
        return (read_runs(folder),)
    study = StudyPaths(folder).record.name
    raise ConfigError(f"{folder} holds no recorded curves (*.npz), no study ({study}) and no verl metrics (*.jsonl)")

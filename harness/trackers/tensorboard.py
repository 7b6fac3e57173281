"""What TensorBoard is told of an attempt: the folder that verl's writer writes its events to, one for each trial of a study."""

from __future__ import annotations

from collections.abc import Sequence

from harness.paths import AttemptPaths, StudyPaths
from harness.types import TrialSpec


class TensorboardTracker:
    """`tensorboard --logdir outputs/<study>/tensorboard` shows each trial under its own name; later attempts go on in its folder."""

    @property
    def loggers(self) -> Sequence[str]:
        return ("console", "file", "tensorboard")

    def environment(self, trial: TrialSpec, attempt: AttemptPaths, *, run_id: str) -> dict[str, str]:  # noqa: ARG002 (the protocol's)
        study = StudyPaths(attempt.trial.root.parent)
        return {"TENSORBOARD_DIR": str((study.tensorboard / attempt.trial.root.name).absolute())}

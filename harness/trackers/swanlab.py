"""What SwanLab is told of an attempt, through the environment of verl's own swanlab.init; imports no swanlab and holds no secret."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness import identity
from harness.errors import ConfigError
from harness.paths import AttemptPaths
from harness.types import TrialSpec

_MODES = ("offline", "local", "cloud", "disabled")


@dataclass(frozen=True, kw_only=True, slots=True)
class SwanlabTracker:
    """Offline runs are uploaded later by `swanlab sync <folder of the run>`; the key, if any, is inherited and never written down."""

    mode: str
    workspace: str | None
    tags: Sequence[str]

    def __post_init__(self) -> None:
        if self.mode not in _MODES:
            raise ConfigError(f"tracking.mode: expected one of {', '.join(_MODES)}, got {self.mode!r}")

    @property
    def loggers(self) -> Sequence[str]:
        return ("console", "file", "swanlab")

    def environment(self, trial: TrialSpec, attempt: AttemptPaths, *, run_id: str) -> dict[str, str]:
        settings = {
            "SWANLAB_MODE": self.mode,
            "SWANLAB_LOG_DIR": str(attempt.swanlog.absolute()),
            "SWANLAB_RUN_ID": run_id,
            "SWANLAB_RESUME": "allow",  # a later attempt goes on in the same run
            "SWANLAB_GROUP": trial.study,
            "SWANLAB_JOB_TYPE": trial.role.value,
            "SWANLAB_TAGS": ",".join(identity.unique((*identity.tags(trial, {}), *self.tags))),
            "SWANLAB_DESCRIPTION": identity.notes(trial),
        }
        return settings | ({"SWANLAB_WORKSPACE": self.workspace} if self.workspace else {})

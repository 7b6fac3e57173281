"""What W&B is told about an attempt, through the environment of verl's own wandb.init; imports no wandb and holds no secret."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import ConfigError
from harness.paths import AttemptPaths
from harness.types import TrialSpec

MODES = ("offline", "online", "disabled")


@dataclass(frozen=True, kw_only=True, slots=True)
class WandbTracker:
    """verl's run gets its id, group, job type and tags from here; the key, if any, is inherited and never written down."""

    mode: str
    entity: str | None
    tags: Sequence[str]

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigError(f"tracking.mode: expected one of {', '.join(MODES)}, got {self.mode!r}")

    @property
    def loggers(self) -> Sequence[str]:
        return ("console", "file", "wandb")

    def environment(self, trial: TrialSpec, attempt: AttemptPaths, *, run_id: str) -> dict[str, str]:
        knobs = ", ".join(f"{name}={value}" for name, value in trial.params.items())
        settings = {
            "WANDB_MODE": self.mode,
            "WANDB_DIR": str(attempt.root.absolute()),
            "WANDB_RUN_ID": run_id,
            "WANDB_RESUME": "allow",  # a later attempt goes on in the same run
            "WANDB_RUN_GROUP": trial.study,
            "WANDB_JOB_TYPE": trial.role.value,
            "WANDB_TAGS": ",".join([trial.study, f"configuration-{trial.configuration}", f"seed-{trial.seed}", *self.tags]),
            "WANDB_NOTES": f"trial {trial.number} of study {trial.study}: {knobs}",
            "WANDB_CONSOLE": "off",
            "WANDB_SILENT": "true",
            "WANDB_ERROR_REPORTING": "false",
        }
        return settings | ({"WANDB_ENTITY": self.entity} if self.entity else {})

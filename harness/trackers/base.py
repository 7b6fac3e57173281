"""What a tracker has to answer, from outside verl."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from harness.paths import AttemptPaths
from harness.types import TrialSpec


class Tracker(Protocol):
    """Tells an experiment tracker about attempts by way of verl's own logging."""

    @property
    def loggers(self) -> Sequence[str]:
        """The backends for verl's `trainer.logger`; `file` must be one of them, for it is what the harness reads."""
        ...

    def environment(self, trial: TrialSpec, attempt: AttemptPaths, *, run_id: str) -> dict[str, str]:
        """Variables for the processes of this attempt; they are recorded, so no secret may be among them."""
        ...

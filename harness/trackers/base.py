"""What a tracker has to answer, from outside verl."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from harness.paths import AttemptPaths, TrialPaths
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


@runtime_checkable
class Accompanying(Protocol):
    """A tracker that also has processes of its own beside the trials; the controller starts them by these calls and never waits."""

    def runs(self, trial: TrialPaths) -> None:
        """An attempt of the trial was given to an engine, or taken over from a controller that is gone."""
        ...

    def ended(self, trial: TrialPaths) -> None:
        """The trial's result is written, or it is paused."""
        ...

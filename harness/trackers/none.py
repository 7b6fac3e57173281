"""No tracker: verl's JSON lines are the record."""

from __future__ import annotations

from collections.abc import Sequence

from harness.paths import AttemptPaths
from harness.types import TrialSpec


class NoTracker:
    """Leaves verl to its console and its metric file."""

    @property
    def loggers(self) -> Sequence[str]:
        return ("console", "file")

    def environment(self, trial: TrialSpec, attempt: AttemptPaths, *, run_id: str) -> dict[str, str]:  # noqa: ARG002 (the protocol's)
        return {}

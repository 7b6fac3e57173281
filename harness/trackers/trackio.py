"""What trackio is told of an attempt: the folder of its database, one for a study."""

from __future__ import annotations

from collections.abc import Sequence

from harness.paths import AttemptPaths, StudyPaths
from harness.types import TrialSpec


class TrackioTracker:
    """`TRACKIO_DIR=outputs/<study>/trackio trackio show` shows each trial under its own name. trackio knows neither groups nor tags.

    The folder is the study's and not the trial's: trackio reads it once in a process, and an engine serves trial after trial.
    """

    @property
    def loggers(self) -> Sequence[str]:
        return ("console", "file", "trackio")

    def environment(self, trial: TrialSpec, attempt: AttemptPaths, *, run_id: str) -> dict[str, str]:  # noqa: ARG002 (the protocol's)
        return {"TRACKIO_DIR": str(StudyPaths(attempt.trial.root.parent).trackio.absolute())}

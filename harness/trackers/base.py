"""What a tracker has to answer, from outside verl."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from harness.errors import ConfigError
from harness.paths import AttemptPaths, StudyPaths, TrialPaths
from harness.trackers.study_run import StudyRun
from harness.types import StudyRecord, TrialSpec

_OWN = ("console", "file")  # loggers that need no package


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


@runtime_checkable
class Preparing(Protocol):
    """A tracker for which something has to be there before the first attempt."""

    def prepare(self, study: StudyPaths, say: Callable[[str], None]) -> None:
        """Before the first attempt of each launch; what takes seconds is said. Raises ConfigError."""
        ...


@runtime_checkable
class OfStudies(Protocol):
    """A tracker that knows runs of studies, too."""

    def run_of_study(self, record: StudyRecord) -> StudyRun | None:
        """Who the study's own run is; None: it is to have none."""
        ...


@runtime_checkable
class Paged(Protocol):
    """A tracker that shows each run on a page of its own."""

    def page(self, project: str, run_id: str) -> str | None:
        """Its address, as far as it can be known from here."""
        ...


def refuse_missing(loggers: Sequence[str]) -> None:
    """verl's loggers are named after the packages that they import, in the engine, minutes after the start. Raises ConfigError."""
    missing = [name for name in loggers if name not in _OWN and importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"tracking: verl's logger {missing[0]} needs a package that is not installed: pip install {' '.join(missing)}")

"""The nouns of trainings that ran elsewhere, as plain immutable data."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from harness.types import Direction, Objective, Params, Reason, Reduction, TrialState


class Ending(StrEnum):
    """How its source says that a training ended."""

    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"  # by a person
    RUNNING = "running"  # still, when it was read
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """How it counts as a trial."""

    state: TrialState
    reason: Reason
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Where W&B's server has it."""

    entity: str
    project: str
    run_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What a source says of a training, before its metrics are read."""

    name: str
    keys: tuple[str, ...]  # by which runs.yaml may call it
    metrics: Path  # lines of verl's file logger
    ended_at: float  # seconds since the epoch
    ending: Ending = Ending.UNKNOWN
    params: Params | None = None  # None: nothing is known, so that it is a configuration of its own
    seed: int | None = None  # None: it is told from its likes by their order
    configuration: str = ""  # of a run of this harness; empty: it follows from the params
    end: End | None = None  # of a run of this harness: as its study told it
    seconds: float | None = None  # None: as its metrics tell
    gpu_seconds: float | None = None
    gpus: float = 0.0
    config: dict[str, Any] = field(default_factory=dict)  # verl's own, as far as it can be recorded
    page: Page | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A training with what its metrics say of the objective."""

    told: Told
    configuration: str
    seed: int
    curve: dict[int, float]  # the objective by step
    value: float | None  # None: it did not stay finite
    steps: int
    seconds: float
    gpu_seconds: float
    end: End


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """All that is in a source."""

    name: str  # that a study of it has, where nobody gives it another
    origin: str  # the source in words
    objective: Objective
    runs: tuple[Run, ...]
    left_out: int  # runs without a value of the objective
    unreadable: int = 0  # logs of runs that are none

    @property
    def total_steps(self) -> int:
        """Of the longest."""
        return max(run.steps for run in self.runs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """What whoever has runs read says of them; None: as runs.yaml has it, else as the default configuration. Empty: all of W&B's runs."""

    metric: str | None = None
    direction: Direction | None = None
    reduction: Reduction | None = None
    group: str = ""
    tag: str = ""

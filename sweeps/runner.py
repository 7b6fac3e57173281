"""What the loop asks of whoever makes trials happen, and what they tell each other; knows nothing of Optuna, verl, processes or files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.types import Reason, Role, TrialState


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """A point that Optuna asks for. `overrides` are all that one launch adds to the base configuration."""

    number: int
    params: Mapping[str, Any]
    overrides: tuple[str, ...]
    seed: int | None = None  # of a replicate; None: the one that the base configuration has
    role: Role = Role.TUNING


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a trial ended."""

    state: TrialState
    reason: Reason
    message: str
    values: tuple[float, ...] | None = None
    likeness: str = ""  # equal for failures of the same cause


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """What a runner has to say of a trial: new (step, value) of a single objective, or its end.

    `spent`: by those steps, what the trial had used up then, where the pruner counts in something else than steps.
    """

    number: int
    points: Sequence[tuple[int, float]] = ()
    spent: Mapping[int, float] = field(default_factory=dict)
    outcome: Outcome | None = None


class Runner(Protocol):
    """Makes trials happen, some of them at the same time."""

    def free(self) -> int:
        """How many more trials could start now."""
        ...

    def start(self, proposal: Proposal) -> Outcome | None:
        """Starts a trial, or goes on with one that was begun; or says why it ended before that."""
        ...

    def updates(self) -> Iterable[Update]:
        """What is new; waits a moment where nothing is."""
        ...

    def stop(self, number: int, reason: Reason, message: str) -> None:
        """Asks a trial to end, one that was paused too; its outcome comes as an update."""
        ...


class Adopter(Runner, Protocol):
    """A runner whose trials outlive their controller."""

    def adopt(self, proposal: Proposal) -> Update | None:
        """Takes over a trial that a controller which is gone had asked for; None: it is to be started."""
        ...

    def adopted(self) -> None:
        """There are no more to be taken over."""
        ...


class Audience(Protocol):
    """Whoever watches a study."""

    def started(self, proposal: Proposal) -> None: ...

    def ended(self, number: int, outcome: Outcome) -> None: ...

    def tick(self) -> None: ...

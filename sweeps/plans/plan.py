"""What a plan is asked, what it is shown and what it answers; it keeps nothing, so that whoever takes a study over decides alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from harness.command import configuration_id
from harness.types import Role

CONFIRMATION = 1_000_000  # added to the seed of tuning: so many seeds can be used for tuning, and none of them for confirmation


class Phase(StrEnum):
    """Where a trial stands for a plan."""

    RUNNING = "running"  # or about to, towards its goal
    PAUSED = "paused"  # at its goal; it may be coming to rest
    COMPLETE = "complete"
    ENDED = "ended"  # pruned, guarded, failed
    REFUSED = "refused"  # never trained: verl would not take the point
    VOID = "void"  # interrupted or lost: as if it had not been asked for


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """A trial as the storage tells it. Larger is better in `reports` and `value`, whatever the study's direction."""

    number: int
    configuration: str
    role: Role
    seed: int
    phase: Phase
    reports: Mapping[int, float]  # by step, from 1 on
    value: float | None  # that it ended with, where it is COMPLETE
    goal: int | None  # the step at which it pauses; None: it trains to its end
    went_on: bool  # from where its plan lets all begin
    restores: int  # times that it went on from a checkpoint after a pause

    @property
    def steps(self) -> int:
        """The last one that was reported."""
        return max(self.reports, default=0)

    @property
    def is_open(self) -> bool:
        return self.phase in (Phase.RUNNING, Phase.PAUSED)

    def at(self, step: int) -> float | None:
        """The first report at or after that step; None where it has not come so far."""
        reached = [reported for reported in self.reports if reported >= step]
        return self.reports[min(reached)] if reached else None


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The numbers of a study that its plan needs."""

    budget: float  # hydra.sweeper.n_trials: in full runs, or in trials where the plan counts these
    total_steps: int = 1  # of a full run
    seed: int = 0  # that a trial has when nothing else is said
    most_seeds: int | None = None  # that a configuration can be tried with; None: any number
    most_configurations: int | None = None  # that there are; None: no end of them
    default: Mapping[str, Any] | None = None  # the point that the knobs replace, where the study asks for it as a trial

    def tuning_seed(self, index: int) -> int:
        """The seeds that choose: consecutive ones."""
        assert 0 <= index < CONFIRMATION
        return self.seed + index

    def confirmation_seed(self, index: int) -> int:
        """The seeds that confirm: none is ever a tuning seed."""
        return self.seed + CONFIRMATION + index

    @cached_property
    def default_configuration(self) -> str | None:
        """What others are compared with: it is begun first, never stopped for its rank, and has each seed that the best one has."""
        return None if self.default is None else configuration_id(self.default)


@dataclass(frozen=True)
class Overview:
    """A study when a plan is asked. `counted` and `unfinished` are numbers of trials that have been told and that have not."""

    terms: Terms
    counted: int
    unfinished: int
    read: Callable[[], Sequence[Standing]]  # asked only by plans that look at single trials
    concluding: bool = False  # nothing new is to be begun, whatever is left of the budget

    @cached_property
    def standings(self) -> Sequence[Standing]:
        """All trials but the void ones, by number."""
        return [standing for standing in self.read() if standing.phase is not Phase.VOID]

    @cached_property
    def tuning(self) -> Sequence[Standing]:
        """The first trials of all configurations."""
        return [standing for standing in self.standings if standing.role is Role.TUNING]

    @cached_property
    def default(self) -> Standing | None:
        """The first trial of the default, where it came to its end."""
        name = self.terms.default_configuration
        return next((one for one in self.tuning if one.configuration == name and one.phase is Phase.COMPLETE), None)

    @cached_property
    def lacks_default(self) -> bool:
        """Whether the next new configuration is the default."""
        name = self.terms.default_configuration
        return name is not None and all(standing.configuration != name for standing in self.standings)

    @property
    def has_new(self) -> bool:
        """Whether there may be another configuration: not where all were tried, or the space is full of what verl refuses."""
        if self.concluding:
            return False
        refused = sum(standing.phase is Phase.REFUSED for standing in self.tuning)
        most = self.terms.most_configurations
        return refused < self.terms.budget and (most is None or len(self.tuning) < most)


@dataclass(frozen=True, slots=True)
class Explore:
    """A new configuration: the sampler is asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resume:
    """A paused trial goes on to its next goal; None: to its end."""

    number: int
    goal: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Replicate:
    """The configuration of trial `of` with another seed."""

    of: int
    seed: int
    role: Role


Decision = Explore | Resume | Replicate


class BasePlan(ABC):
    """A pure function of what the storage says of a study."""

    pauses: bool = False  # False: who is not let go on at its goal is stopped for good
    full_runs: bool = True  # n_trials counts full runs, not trials: the space may not move their length, nor the seed
    restore_cost: float = 0.0  # of going on from a checkpoint, in full runs

    @abstractmethod
    def next(self, overview: Overview) -> Decision | None:
        """What a free slot does. None: nothing now, and nothing ever while no trial runs."""

    def first_goal(self, terms: Terms) -> int | None:  # noqa: ARG002 (others look at them)
        """The step at which a new configuration's first trial pauses; None: it trains to its end."""
        return None

    def hopeless(self, overview: Overview) -> Mapping[int, str]:  # noqa: ARG002
        """Paused trials that this plan will never go on with, and why."""
        return {}

    def best(self, overview: Overview) -> int | None:
        """The number of a trial of the configuration that the plan has chosen; None before one is COMPLETE."""
        complete = [standing for standing in overview.standings if standing.value is not None and standing.role is Role.TUNING]
        return max(complete, key=lambda standing: (standing.value, -standing.number)).number if complete else None

    def refusal(self, terms: Terms) -> str | None:  # noqa: ARG002
        """Why this plan cannot be carried out on these terms, if so."""
        return None

    def cost(self, standing: Standing, terms: Terms) -> float:
        """Of a trial in full runs: what it has trained, and what it was promised."""
        steps = standing.steps
        if standing.phase is Phase.COMPLETE:
            steps = terms.total_steps
        elif standing.phase is Phase.RUNNING:
            steps = max(steps, standing.goal or terms.total_steps)
        return steps / terms.total_steps + self.restore_cost * standing.restores

    def left(self, overview: Overview) -> float:
        """Full runs that no trial has spent or was promised."""
        return overview.terms.budget - self.spent(overview.standings, overview.terms)

    def spent(self, standings: Iterable[Standing], terms: Terms) -> float:
        return sum(self.cost(standing, terms) for standing in standings)

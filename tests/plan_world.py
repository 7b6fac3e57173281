"""A world in which trainings have a clock of their own and outlive their controllers, and a storage on which these die."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.storages import InMemoryStorage

from harness.command import configuration_id
from harness.types import Reason, Role, TrialState
from sweeps.loop import Loop
from sweeps.plans.plan import BasePlan, Terms
from sweeps.runner import Outcome, Proposal, Update

STEPS = 10
SPACE = {"x": optuna.distributions.FloatDistribution(0.0, 1.0)}


class Killed(BaseException):
    """The controller is gone; no code of ours catches it."""


@dataclass(slots=True)
class Fate:
    """Before which of its changes a controller dies; 0: it lives."""

    dies_at: int = 0
    changes: int = 0

    def change(self) -> None:
        self.changes += 1
        if self.changes == self.dies_at:
            raise Killed


class MortalStorage(InMemoryStorage):
    """Keeps what was written before the death, and nothing of the write that it came before."""

    fate = Fate()

    def create_new_trial(self, *args: Any, **kwargs: Any) -> int:
        self.fate.change()
        return super().create_new_trial(*args, **kwargs)

    def set_trial_param(self, *args: Any, **kwargs: Any) -> None:
        self.fate.change()
        super().set_trial_param(*args, **kwargs)

    def set_trial_user_attr(self, *args: Any, **kwargs: Any) -> None:
        self.fate.change()
        super().set_trial_user_attr(*args, **kwargs)

    def set_trial_intermediate_value(self, *args: Any, **kwargs: Any) -> None:
        self.fate.change()
        super().set_trial_intermediate_value(*args, **kwargs)

    def set_trial_state_values(self, *args: Any, **kwargs: Any) -> bool:
        self.fate.change()
        return super().set_trial_state_values(*args, **kwargs)


def worth(params: Mapping[str, Any], seed: int, step: int) -> float:
    """Best at x = 0.7; each seed and step adds a little that is always the same."""
    luck = math.sin(1e4 * params["x"] + 7.0 * seed) * 0.02 + math.sin(1e3 * params["x"] * step) * 0.01
    return (1 - (params["x"] - 0.7) ** 2) * (1 - math.exp(-step / 4)) + luck


@dataclass(slots=True)
class Training:
    """A trial on disk and in its engine."""

    params: Mapping[str, Any]
    seed: int
    steps: int = 0  # that were trained
    read: int = 0  # that the present controller was told
    attempts: int = 0
    running: bool = False
    stop: tuple[Reason, str] | None = None
    result: Outcome | None = None


@dataclass(slots=True)
class World:
    """A `sweeps.runner.Adopter`; each attempt has a pace of its own. `diary`: what happened to whom, in the order of its clock."""

    slots: int
    fate: Fate = field(default_factory=Fate)
    now: float = 0.0
    trials: dict[int, Training] = field(default_factory=dict)
    events: list[tuple[float, int]] = field(default_factory=list)
    diary: list[tuple[float, str, int]] = field(default_factory=list)
    most: int = 0
    sign: int = 1  # -1: the metric is a loss
    failing: frozenset[int] = frozenset()  # seeds with which trainings fail at their last step
    _due: list[Update] = field(default_factory=list)
    _followed: set[int] = field(default_factory=set)  # by the present controller

    def new_controller(self, fate: Fate) -> None:
        self.fate, self._due, self._followed = fate, [], set()
        for training in self.trials.values():
            training.read = 0

    def free(self) -> int:
        return self.slots - sum(training.running for training in self.trials.values())

    def start(self, proposal: Proposal) -> Outcome | None:
        self.fate.change()
        seed = 0 if proposal.seed is None else proposal.seed
        training = self.trials.setdefault(proposal.number, Training(params=dict(proposal.params), seed=seed))
        assert not training.running
        training.running, training.stop, training.attempts = True, None, training.attempts + 1
        training.read = training.steps
        self._followed.add(proposal.number)
        self.most = max(self.most, sum(other.running for other in self.trials.values()))
        self.diary.append((round(self.now, 6), "start", proposal.number))
        self._go_on(proposal.number)
        return None

    def updates(self) -> Iterable[Update]:
        told = list(self._told())
        if told or not self.events:
            yield from told
            return
        self.now, number = heapq.heappop(self.events)
        training = self.trials[number]
        training.steps += 1
        if training.steps == STEPS:
            training.running, training.result = False, self._end(training)
            self.diary.append((round(self.now, 6), "end", number))
        else:
            self._go_on(number)
        yield from self._told()

    def stop(self, number: int, reason: Reason, message: str) -> None:
        self.fate.change()
        training = self.trials[number]
        if not training.running:  # it was paused
            assert reason is Reason.PRUNED
            training.result = Outcome(state=TrialState.PRUNED, reason=reason, message=message)
            self._due.append(Update(number=number, outcome=training.result))
        elif training.stop is None:
            training.stop = (reason, message)
            self._halt(number)

    def adopt(self, proposal: Proposal) -> Update | None:
        training = self.trials.get(proposal.number)
        if training is None or (not training.running and training.result is None and training.stop is None):
            return None
        if training.result is not None:
            points = [(step, self.sign * worth(training.params, training.seed, step)) for step in range(1, training.steps + 1)]
            return Update(number=proposal.number, points=points, outcome=training.result)
        if not training.running:
            return None
        self._followed.add(proposal.number)
        return Update(number=proposal.number)

    def adopted(self) -> None:
        """Nobody strays here."""

    def _told(self) -> Iterable[Update]:
        """What is on disk and was not told to this controller."""
        due, self._due = self._due, []
        yield from due
        for number in sorted(self._followed):
            training = self.trials[number]
            new = range(training.read + 1, training.steps + 1)
            training.read, ended = training.steps, training.result
            if ended is not None:
                self._followed.discard(number)
            if new:
                points = [(step, self.sign * worth(training.params, training.seed, step)) for step in new]
                yield Update(number=number, points=points, outcome=ended)

    def _halt(self, number: int) -> None:
        """At once: a step boundary is always near here."""
        training = self.trials[number]
        training.running = False
        self._followed.discard(number)
        self.events = [event for event in self.events if event[1] != number]
        heapq.heapify(self.events)
        assert training.stop is not None
        reason, message = training.stop
        self.diary.append((round(self.now, 6), reason.value, number))
        if reason is Reason.PAUSED:
            outcome = Outcome(state=TrialState.WAITING, reason=reason, message=message)
        else:
            outcome = training.result = Outcome(state=TrialState.PRUNED, reason=reason, message=message)
        self._due.append(Update(number=number, outcome=outcome))

    def _go_on(self, number: int) -> None:
        training = self.trials[number]
        pace = 1 + 0.2 * math.sin(11.0 * number + training.attempts)
        heapq.heappush(self.events, (self.now + pace, number))

    def _end(self, training: Training) -> Outcome:
        if training.seed in self.failing:
            return Outcome(state=TrialState.FAIL, reason=Reason.CRASHED, message="boom")
        value = self.sign * worth(training.params, training.seed, STEPS)
        return Outcome(state=TrialState.COMPLETE, reason=Reason.FINISHED, message="", values=(value,))


class Nobody:
    """An audience that looks away."""

    def started(self, proposal: Proposal) -> None: ...

    def ended(self, number: int, outcome: Outcome) -> None: ...

    def tick(self) -> None: ...


def new_study(direction: str = "maximize") -> optuna.Study:
    return optuna.create_study(study_name="plans", storage=MortalStorage(), direction=direction, pruner=optuna.pruners.NopPruner())


def control(
    study: optuna.Study,
    world: World,
    plan: BasePlan,
    *,
    budget: int,
    dies_at: int = 0,
    most_seeds: int | None = None,
    most_configurations: int | None = None,
    sampler_for: Callable[[int], optuna.samplers.BaseSampler] = lambda number: optuna.samplers.RandomSampler(seed=number),
    concludes_at: float = math.inf,  # how many configurations have been begun
    default: Mapping[str, Any] | None = None,  # the point that the knobs replace
) -> Loop:
    """One controller's life."""
    fate = Fate(dies_at)
    MortalStorage.fate = fate
    world.new_controller(fate)
    loop = Loop(
        study=study,
        runner=world,
        propose=lambda trial: Proposal(number=trial.number, params=dict(trial.params), overrides=()),
        distributions=SPACE,
        n_trials=budget,
        max_failure_rate=1.0,
        at_once=world.slots,
        audience=Nobody(),
        adopter=world,
        plan=plan,
        terms=Terms(budget=budget, total_steps=STEPS, most_seeds=most_seeds, most_configurations=most_configurations, default=default),
        sampler_for=sampler_for,
        wish_to_conclude=lambda: len(of_role(study, Role.TUNING)) >= concludes_at,
    )
    try:
        loop.run()
    finally:
        MortalStorage.fate = Fate()
    return loop


def history(study: optuna.Study) -> list[Any]:
    """All that was asked, and how it ended."""
    return [
        (trial.params, trial.user_attrs, trial.state.name, trial.values, trial.intermediate_values)
        for trial in study.get_trials(deepcopy=False)
    ]


def configuration(trial: optuna.trial.FrozenTrial) -> str:
    return configuration_id(trial.params)


def of_role(study: optuna.Study, role: Role) -> list[optuna.trial.FrozenTrial]:
    return [trial for trial in study.get_trials(deepcopy=False) if trial.user_attrs.get("role", Role.TUNING.value) == role.value]


def full_runs(study: optuna.Study, *, restore_cost: float) -> float:
    """What a study has cost, reckoned apart from its plan."""
    steps = sum(max(trial.intermediate_values, default=0) for trial in study.get_trials(deepcopy=False))
    restores = sum(trial.user_attrs.get("goal", [None, 0])[1] for trial in study.get_trials(deepcopy=False))
    return steps / STEPS + restore_cost * restores

"""Plays a policy on a task once: the study's own loop, sampler, pruner and plan over recorded curves."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from harness.command import configuration_id
from harness.errors import ConfigError, HarnessError
from harness.result import result_of
from harness.trial_status import TrialStatus
from harness.types import Objective, Role, TrialState
from sweeps import storage
from sweeps.loop import Loop
from sweeps.plans.build import build_plan
from sweeps.plans.course import CONFIGURATION, ROLE, SEED
from sweeps.plans.plan import BasePlan, Terms
from sweeps.pruners.build import build_pruner
from sweeps.replay.policy import Policy
from sweeps.replay.runner import SimulatedRunner
from sweeps.replay.sampler import RecordedSampler
from sweeps.replay.space import RecordedSpace, span
from sweeps.replay.tasks import Recorded, Task
from sweeps.runner import Outcome, Proposal
from sweeps.samplers.build import build_sampler, remembers_nothing
from sweeps.space import Space

_ROUNDING = 1e-6

optuna.logging.set_verbosity(optuna.logging.WARNING)  # of each study it would say that it was made


@dataclass(frozen=True, kw_only=True, slots=True)
class Game:
    """What a policy is given: `runs` full trainings, so many at the same time."""

    runs: float
    slots: int
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    """What came of it once."""

    pick: int  # the configuration's index
    full_runs: float  # spent, in full trainings
    clock: float  # in full trainings, from the first trial's start to the last one's end


def play(task: Task, policy: Policy, game: Game, repetition: int) -> Played:
    """Seed and repetition give every policy the same luck: the order in which configurations are come across at random, and which
    recorded seed is the first.

    Raises ConfigError where sampler, pruner or plan cannot be built or refuses so few runs, HarnessError for a plan that spends more.
    """
    draw = random.Random(f"{game.seed} {task.name} {repetition}")
    order, seeds = _shuffled(len(task.params), draw), _shuffled(task.seeds, draw)
    space = span(task.params, task.space)
    sampler_for = _samplers(policy, space, order, study_seed=draw.randrange(2**31))
    sampler = sampler_for(0)
    study = optuna.create_study(
        study_name=f"{task.name}-{repetition}",
        storage=storage.memory(),
        sampler=sampler,
        pruner=build_pruner(policy.pruner),
        direction=task.objective.direction.value,
    )
    plan = build_plan(policy.plan)
    runner = SimulatedRunner(
        recording=_Recordings(task, space, seeds),
        objective=task.objective,
        total_steps=task.total_steps,
        slots=game.slots,
        draw=draw,
        budget=None if plan.full_runs else game.runs,
    )
    terms = Terms(
        budget=game.runs if plan.full_runs else len(task.params),
        total_steps=task.total_steps,
        most_seeds=task.seeds,
        most_configurations=len(task.params),
    )
    if (why := plan.refusal(terms)) is not None:
        raise ConfigError(f"{policy.name}: {why}")
    _loop(study, runner, space, plan, terms, sampler_for if remembers_nothing(sampler.inner) else None).run()
    if not study.get_trials(deepcopy=False):
        raise ConfigError(f"{policy.name}: {game.runs:g} full runs are too few to start one trial; give more with --runs")
    if runner.spent > game.runs + _ROUNDING:
        raise HarnessError(f"{policy.name}: its plan spent {runner.spent:.3f} of {game.runs:g} full runs; does its restore_cost say less?")
    return Played(pick=space.index(_picked(study, task.objective).params), full_runs=runner.spent, clock=runner.clock)


def _samplers(policy: Policy, space: RecordedSpace, order: tuple[int, ...], *, study_seed: int) -> Callable[[int], RecordedSampler]:
    """As a study's, by the number of trials so far. One that can choose among candidates is given what was recorded."""
    free = Space(distributions=space.distributions)

    def sampler(trials_so_far: int) -> RecordedSampler:
        inner = build_sampler(policy.sampler, free, trials_so_far=trials_so_far, study_seed=study_seed, candidates=space.points)
        return RecordedSampler(inner, space, order=order)

    return sampler


def _loop(
    study: optuna.Study,
    runner: SimulatedRunner,
    space: RecordedSpace,
    plan: BasePlan,
    terms: Terms,
    sampler_for: Callable[[int], RecordedSampler] | None,
) -> Loop:
    return Loop(
        study=study,
        runner=runner,
        propose=lambda trial: Proposal(number=trial.number, params=trial.params, overrides=()),
        distributions=space.distributions,
        n_trials=len(space.points),
        max_failure_rate=math.inf,  # a policy that comes across nothing but failures is to be judged, too
        at_once=runner.slots,
        audience=_Nobody(),
        wish_to_drain=lambda: runner.exhausted,
        sampler_for=sampler_for,
        plan=plan,
        terms=terms,
    )


@dataclass(slots=True)
class _Recordings:
    """What each trial reads. Recorded seeds are dealt in the order in which a study comes to use its own, to all configurations alike."""

    task: Task
    space: RecordedSpace
    order: tuple[int, ...]  # of the recorded seeds
    dealt: dict[int, int] = field(default_factory=dict)  # seed of a trial -> its place in that order

    def __call__(self, proposal: Proposal) -> Recorded | None:
        place = self.dealt.setdefault(proposal.seed or 0, len(self.dealt))
        curves = self.task.curves_cs[self.space.index(proposal.params)]
        there = [curve for seed in self.order if (curve := curves[seed]) is not None]
        return there[place] if place < len(there) else None


def _picked(study: optuna.Study, objective: Objective) -> FrozenTrial:
    """A trial of the configuration that the study would name; where no trial is complete, of those that came furthest the best."""
    trials = study.get_trials(deepcopy=False)
    result = result_of(map(_told, trials), [objective])
    if result is not None:
        return trials[result.best.trials[0]]
    sign = 1 if study.direction == StudyDirection.MAXIMIZE else -1
    return max(trials, key=lambda trial: max(((step, sign * value) for step, value in trial.intermediate_values.items()), default=(0, 0.0)))


def _told(trial: FrozenTrial) -> TrialStatus:
    """What its records would say."""
    attributes = trial.user_attrs
    return TrialStatus(
        number=trial.number,
        state=TrialState(trial.state.name),
        configuration=attributes.get(CONFIGURATION) or configuration_id(trial.params),
        seed=attributes.get(SEED, 0),
        role=Role(attributes.get(ROLE, Role.TUNING)),
        values=tuple(trial.values) if trial.values else None,
    )


def _shuffled(count: int, draw: random.Random) -> tuple[int, ...]:
    return tuple(draw.sample(range(count), count))


class _Nobody:
    """An audience that does not look."""

    def started(self, proposal: Proposal) -> None: ...

    def ended(self, number: int, outcome: Outcome) -> None: ...

    def tick(self) -> None: ...

"""The loop fills slots one by one, reports, prunes and tells, whatever its runner does."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState as OptunaState

from harness.types import Reason, TrialState
from sweeps.loop import Loop, TooManyFailures, counted
from sweeps.plans.course import REASON
from sweeps.pruners.spending import noted
from sweeps.runner import Outcome, Proposal, Update

DISTRIBUTIONS = {"x": optuna.distributions.FloatDistribution(0.0, 1.0)}

Step = Update | Callable[["ScriptedRunner"], None]


def complete(*values: float) -> Outcome:
    return Outcome(state=TrialState.COMPLETE, reason=Reason.FINISHED, message="", values=values or (1.0,))


def failed(reason: Reason = Reason.CRASHED, message: str = "boom") -> Outcome:
    return Outcome(state=TrialState.FAIL, reason=reason, message=message)


def pruned(reason: Reason = Reason.PRUNED) -> Outcome:
    return Outcome(state=TrialState.PRUNED, reason=reason, message="weak")


@dataclass
class ScriptedRunner:
    """A double at the level of `sweeps.loop.Runner`: no process, and each round of updates is written down before."""

    size: int
    rounds: list[list[Update]] = field(default_factory=list)
    refused: dict[int, Outcome] = field(default_factory=dict)
    running: set[int] = field(default_factory=set)
    diary: list[str] = field(default_factory=list)
    stops: list[tuple[int, Reason]] = field(default_factory=list)
    most: int = 0
    when_stopped: Callable[[int, Reason], Outcome] | None = None
    clearing: int = 0  # how many times a free slot is still being cleared
    _stopped: list[Update] = field(default_factory=list)

    def free(self) -> int:
        if self.running or not self.clearing:
            return self.size - len(self.running)
        self.clearing -= 1
        return 0

    def start(self, proposal: Proposal) -> Outcome | None:
        if proposal.number in self.refused:
            self.diary.append(f"refuse {proposal.number}")
            return self.refused[proposal.number]
        self.running.add(proposal.number)
        self.most = max(self.most, len(self.running))
        self.diary.append(f"start {proposal.number}")
        return None

    def updates(self) -> Iterable[Update]:
        stopped, self._stopped = self._stopped, []
        scripted = (
            self.rounds.pop(0) if self.rounds else [] if stopped else [Update(number=min(self.running, default=0), outcome=complete())]
        )
        for update in [*stopped, *scripted]:
            if update.number not in self.running:
                continue
            if update.outcome is not None:
                self.running.discard(update.number)
                self.diary.append(f"end {update.number}")
            yield update

    def stop(self, number: int, reason: Reason, message: str) -> None:
        self.stops.append((number, reason))
        if self.when_stopped is not None:
            self._stopped.append(Update(number=number, outcome=self.when_stopped(number, reason)))


@dataclass
class Listener:
    """An audience that counts."""

    begun: list[int] = field(default_factory=list)
    told: Counter[int] = field(default_factory=Counter)
    ticks: int = 0

    def started(self, proposal: Proposal) -> None:
        self.begun.append(proposal.number)

    def ended(self, number: int, outcome: Outcome) -> None:
        self.told[number] += 1

    def tick(self) -> None:
        self.ticks += 1


class PruneBelow(optuna.pruners.BasePruner):
    """Wants every trial stopped whose last value is below a bound."""

    def __init__(self, bound: float) -> None:
        self.bound = bound

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        return trial.intermediate_values[max(trial.intermediate_values)] < self.bound


def new_study(directions: Sequence[str] = ("maximize",), pruner: optuna.pruners.BasePruner | None = None) -> optuna.Study:
    return optuna.create_study(
        directions=list(directions), sampler=optuna.samplers.RandomSampler(seed=0), pruner=pruner or optuna.pruners.NopPruner()
    )


def loop_over(study: optuna.Study, runner: ScriptedRunner, *, n_trials: int, at_once: int = 2, max_failure_rate: float = 1.0) -> Loop:
    return Loop(
        study=study,
        runner=runner,
        propose=lambda trial: Proposal(number=trial.number, params=trial.params, overrides=()),
        distributions=DISTRIBUTIONS,
        n_trials=n_trials,
        max_failure_rate=max_failure_rate,
        at_once=at_once,
        audience=Listener(),
    )


def states(study: optuna.Study) -> list[OptunaState]:
    return [trial.state for trial in study.get_trials(deepcopy=False)]


def listener(loop: Loop) -> Listener:
    assert isinstance(loop.audience, Listener)
    return loop.audience


@dataclass
class PruneBeyond(optuna.pruners.BasePruner):
    """Wants every trial stopped that has used up more than a bound."""

    bound: float

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        return noted(trial)[max(trial.intermediate_values)] > self.bound


def test_what_a_trial_has_used_up_is_noted_before_the_report_that_it_goes_with() -> None:
    study = new_study(pruner=PruneBeyond(25.0))
    runner = ScriptedRunner(1, [[Update(number=0, points=[(n, 0.1) for n in range(1, 5)], spent={n: 10.0 * n for n in range(1, 5)})]])
    runner.when_stopped = lambda number, reason: pruned(reason)
    loop_over(study, runner, n_trials=1).run()
    assert runner.stops == [(0, Reason.PRUNED)]
    assert noted(study.trials[0]) == {1: 10.0, 2: 20.0, 3: 30.0}, "and nothing of what was not reported any more"


def test_a_slot_is_refilled_as_soon_as_it_is_free_and_not_before() -> None:
    ends = [[Update(number=1, outcome=complete())], [Update(number=2, outcome=complete())], [Update(number=0, outcome=complete())]]
    runner = ScriptedRunner(size=2, rounds=ends)
    loop_over(new_study(), runner, n_trials=4).run()
    assert runner.diary == ["start 0", "start 1", "end 1", "start 2", "end 2", "start 3", "end 0", "end 3"]


def test_no_more_than_at_once_run_though_the_runner_has_room() -> None:
    runner = ScriptedRunner(size=10)
    loop_over(new_study(), runner, n_trials=6, at_once=3).run()
    assert runner.most == 3


def test_a_study_waits_for_its_only_slot_to_be_cleared() -> None:
    study = new_study()
    loop_over(study, ScriptedRunner(size=1, clearing=5), n_trials=3).run()
    assert states(study) == [OptunaState.COMPLETE] * 3


def test_a_refused_proposal_costs_no_slot_and_counts_as_pruned() -> None:
    study = new_study()
    runner = ScriptedRunner(size=2, refused={0: pruned(Reason.REFUSED), 2: pruned(Reason.REFUSED)})
    loop = loop_over(study, runner, n_trials=4)
    loop.run()
    assert runner.diary == ["refuse 0", "start 1", "refuse 2", "start 3", "end 1", "end 3"]
    assert states(study) == [OptunaState.PRUNED, OptunaState.COMPLETE, OptunaState.PRUNED, OptunaState.COMPLETE]
    assert study.trials[0].user_attrs == {"reason": "refused", "message": "weak"}
    assert listener(loop).begun == [1, 3]


def test_a_weak_trial_is_asked_to_stop_once_and_its_last_value_is_kept() -> None:
    study = new_study(pruner=PruneBelow(0.5))
    weak = [
        [Update(number=0, points=[(1, 0.9), (2, 0.1), (3, 0.1)])],
        [Update(number=0, points=[(4, 0.1)])],
        [Update(number=0, points=[(5, 0.1)], outcome=pruned())],
    ]
    runner = ScriptedRunner(size=1, rounds=weak)
    loop_over(study, runner, n_trials=1, at_once=1).run()
    assert runner.stops == [(0, Reason.PRUNED)]
    assert study.trials[0].state is OptunaState.PRUNED
    assert study.trials[0].intermediate_values == {1: 0.9, 2: 0.1}
    assert study.trials[0].value == 0.1


def test_a_trial_that_ends_with_a_weak_value_is_not_asked_to_stop() -> None:
    study = new_study(pruner=PruneBelow(0.5))
    runner = ScriptedRunner(size=1, rounds=[[Update(number=0, points=[(1, 0.1)], outcome=complete(0.1))]])
    loop_over(study, runner, n_trials=1).run()
    assert runner.stops == []
    assert study.trials[0].state is OptunaState.COMPLETE
    assert study.trials[0].intermediate_values == {1: 0.1}


def test_a_step_is_reported_once() -> None:
    study = new_study()
    runner = ScriptedRunner(
        size=1, rounds=[[Update(number=0, points=[(1, 0.1), (1, 0.2)])], [Update(number=0, points=[(1, 0.3), (2, 0.4)])]]
    )
    loop_over(study, runner, n_trials=1).run()
    assert study.trials[0].intermediate_values == {1: 0.1, 2: 0.4}


def test_several_objectives_report_nothing_and_prune_nothing() -> None:
    study = new_study(directions=("maximize", "minimize"), pruner=PruneBelow(0.5))
    runner = ScriptedRunner(size=1, rounds=[[Update(number=0, points=[(1, 0.1)])], [Update(number=0, outcome=complete(1.0, 2.0))]])
    loop_over(study, runner, n_trials=1).run()
    assert runner.stops == []
    assert study.trials[0].values == [1.0, 2.0]
    assert study.trials[0].intermediate_values == {}


def test_a_study_that_goes_on_ends_at_the_same_total() -> None:
    study = new_study()
    loop_over(study, ScriptedRunner(size=2), n_trials=3).run()
    runner = ScriptedRunner(size=2)
    loop_over(study, runner, n_trials=3).run()
    assert runner.diary == []
    loop_over(study, ScriptedRunner(size=2), n_trials=5).run()
    assert len(study.trials) == 5


def test_a_trial_that_somebody_else_interrupted_is_started_again() -> None:
    study = new_study()
    waiting = Outcome(state=TrialState.WAITING, reason=Reason.INTERRUPTED, message="the supervisor was asked to end")
    runner = ScriptedRunner(size=1, rounds=[[Update(number=0, points=[(1, 0.5)], outcome=waiting)]])
    loop = loop_over(study, runner, n_trials=2)
    loop.run()
    assert runner.diary == ["start 0", "end 0", "start 0", "end 0", "start 1", "end 1"]
    assert states(study) == [OptunaState.COMPLETE] * 2
    assert loop.is_whole


@pytest.mark.parametrize("reason", [Reason.INTERRUPTED, Reason.LOST])
def test_interrupted_trials_do_not_count_towards_the_total(reason: Reason) -> None:
    study = new_study()
    runner = ScriptedRunner(size=1, rounds=[[Update(number=0, outcome=failed(reason))]])
    loop_over(study, runner, n_trials=2, max_failure_rate=0.0).run()
    assert [trial.user_attrs.get(REASON) for trial in study.trials] == [reason.value, None, None]
    assert len(counted(study)) == 2


def test_a_wish_to_stop_ends_what_runs_and_starts_no_other() -> None:
    study = new_study()
    runner = ScriptedRunner(size=2, when_stopped=lambda _, reason: failed(reason))
    loop = loop_over(study, runner, n_trials=9)
    wishes = iter([None, Reason.USER])
    loop.wish_to_stop = lambda: next(wishes, Reason.USER)
    runner.rounds = [[Update(number=0, points=[(1, 0.5)])]]
    loop.run()
    assert runner.stops == [(0, Reason.USER), (1, Reason.USER)]
    assert loop.stopped is Reason.USER
    assert len(study.trials) == 2


def test_more_failures_than_allowed_end_the_study_with_the_last_ones_message() -> None:
    study = new_study()
    rounds = [[Update(number=0, outcome=failed(message="first"))], [Update(number=1, outcome=failed(message="second"))]]
    runner = ScriptedRunner(size=2, rounds=rounds, when_stopped=lambda _, reason: failed(reason))
    with pytest.raises(TooManyFailures, match=r"2 of 4 trials failed, more than max_failure_rate=0.25 allows; trial 1: second"):
        loop_over(study, runner, n_trials=4, max_failure_rate=0.25).run()
    assert runner.stops == [(2, Reason.INTERRUPTED)]
    assert [trial.user_attrs[REASON] for trial in study.trials] == ["crashed", "crashed", "interrupted"]


def test_as_many_failures_as_allowed_are_no_error() -> None:
    runner = ScriptedRunner(size=1, rounds=[[Update(number=0, outcome=failed())]])
    study = new_study()
    loop_over(study, runner, n_trials=4, max_failure_rate=0.25).run()
    assert states(study).count(OptunaState.COMPLETE) == 3


def test_a_pruned_trial_is_no_failure() -> None:
    runner = ScriptedRunner(size=1, rounds=[[Update(number=0, outcome=pruned())]])
    loop_over(new_study(), runner, n_trials=2, max_failure_rate=0.0).run()


@pytest.mark.parametrize("sampler", [optuna.samplers.GridSampler({"x": [0.0, 0.5, 1.0]}, seed=0)])
def test_a_sampler_that_ends_itself_is_told_its_last_point_too(sampler: optuna.samplers.BaseSampler) -> None:
    study = optuna.create_study(direction="maximize", sampler=sampler)
    loop_over(study, ScriptedRunner(size=2), n_trials=3).run()
    assert sorted(trial.params["x"] for trial in study.trials) == [0.0, 0.5, 1.0]
    assert states(study) == [OptunaState.COMPLETE] * 3


@dataclass
class ErraticRunner:
    """A double at the level of `sweeps.loop.Runner` that does whatever a runner may do, at random but reproducibly."""

    size: int
    draw: random.Random
    running: dict[int, Reason | None] = field(default_factory=dict)  # and why it was asked to stop
    most: int = 0
    step: int = 0
    ended: Counter[int] = field(default_factory=Counter)

    def free(self) -> int:
        return self.size - len(self.running) if self.draw.random() < 0.7 else 0  # a slot may still be cleared

    def start(self, proposal: Proposal) -> Outcome | None:
        assert proposal.number not in self.running
        if self.draw.random() < 0.15:
            return pruned(Reason.REFUSED)
        self.running[proposal.number] = None
        self.most = max(self.most, len(self.running))
        return None

    def updates(self) -> Iterable[Update]:
        self.step += 1
        for number, asked in list(self.running.items()):
            what = self.draw.random()
            points = [(self.draw.randint(1, self.step), self.draw.random()) for _ in range(self.draw.randint(0, 3))]
            if what < 0.4:
                yield Update(number=number, points=points)
            elif what < 0.8:
                del self.running[number]
                self.ended[number] += 1
                yield Update(number=number, points=points, outcome=self._outcome(asked))

    def stop(self, number: int, reason: Reason, message: str) -> None:
        assert number in self.running, "asked to stop what does not run"
        self.running[number] = reason

    def _outcome(self, asked: Reason | None) -> Outcome:
        if asked is not None and self.draw.random() < 0.8:
            return pruned() if asked is Reason.PRUNED else failed(asked)
        return self.draw.choice([complete(self.draw.random()), failed(), failed(Reason.LOST), failed(Reason.NON_FINITE)])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(), size=st.integers(1, 4), at_once=st.integers(1, 4), n_trials=st.integers(0, 12), twice=st.booleans())
def test_whatever_a_runner_does_each_trial_is_told_once_and_the_total_is_met(
    seed: int, size: int, at_once: int, n_trials: int, twice: bool
) -> None:
    study = new_study(pruner=PruneBelow(0.2))
    for total in (n_trials, n_trials + 3) if twice else (n_trials,):
        before = len(study.trials)
        runner = ErraticRunner(size=size, draw=random.Random(seed))
        loop = loop_over(study, runner, n_trials=total, at_once=at_once)  # type: ignore[arg-type] # another double of the same protocol
        loop.run()
        new = range(before, len(study.trials))
        assert listener(loop).told == Counter(new)
        assert all(trial.state.is_finished() for trial in study.trials)
        assert runner.most <= min(size, at_once)
        assert runner.running == {}
        assert len(counted(study)) == total


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(), rate=st.floats(0, 1), n_trials=st.integers(1, 12))
def test_a_study_ends_with_an_error_exactly_where_more_failed_than_is_allowed(seed: int, rate: float, n_trials: int) -> None:
    study = new_study()
    runner = ErraticRunner(size=2, draw=random.Random(seed))
    loop = loop_over(study, runner, n_trials=n_trials, max_failure_rate=rate)  # type: ignore[arg-type]
    try:
        loop.run()
    except TooManyFailures:
        failures = [trial for trial in counted(study) if trial.state is OptunaState.FAIL]
        assert len(failures) > rate * n_trials
    else:
        assert len(counted(study)) == n_trials
    assert all(trial.state.is_finished() for trial in study.trials)

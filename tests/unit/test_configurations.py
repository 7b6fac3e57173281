"""Samplers see one trial for each configuration, with the mean of its seeds or a forecast, and write to the real study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from harness.command import configuration_id
from harness.types import Reason, Role
from sweeps.plans.course import CONFIGURATION, GOAL, REASON, ROLE, SEED, Course
from sweeps.plans.halving import Halving
from sweeps.plans.once import Once
from sweeps.plans.plan import Terms

SPACE = {"x": FloatDistribution(0.0, 1.0)}
HALVING = Halving(
    rungs=[0.3, 0.6], keep=[0.5, 0.5], explore=0.6, configurations=1.0, confirm=[], curve_weight=0.0, pause=True, restore_cost=0.02
)
TERMS = Terms(budget=20, total_steps=10)


def add(
    study: optuna.Study,
    x: float,
    reports: Mapping[int, float],
    state: TrialState = TrialState.COMPLETE,
    *,
    value: float | None = None,
    seed: int | None = None,
    reason: Reason | None = None,
    goal: tuple[int | None, int] | None = None,
) -> None:
    attributes: dict[str, Any] = {} if seed is None else {CONFIGURATION: configuration_id({"x": x}), SEED: seed, ROLE: Role.REPLICATE.value}
    attributes |= {REASON: reason.value} if reason else {}
    attributes |= {GOAL: list(goal)} if goal else {}
    if state is TrialState.COMPLETE and value is None:
        value = reports[max(reports)]
    trial = create_trial(
        state=state, value=value, params={"x": x}, distributions=SPACE, intermediate_values=dict(reports), user_attrs=attributes
    )
    study.add_trial(trial)


class Watching(optuna.samplers.RandomSampler):
    """Remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__(seed=0)
        self.shown: list[optuna.trial.FrozenTrial] = []

    def sample_independent(self, study: optuna.Study, trial: optuna.trial.FrozenTrial, name: str, distribution: Any) -> Any:
        self.shown = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        return super().sample_independent(study, trial, name, distribution)


def shown(study: optuna.Study, plan: Any = HALVING) -> dict[float, tuple[str, float | None, dict[int, float]]]:
    """By x."""
    sampler = Watching()
    Course(study, plan, TERMS).ask(SPACE, sampler)
    return {trial.params["x"]: (trial.state.name, trial.value, trial.intermediate_values) for trial in sampler.shown}


@pytest.fixture(params=["maximize", "minimize"])
def study(request: pytest.FixtureRequest) -> optuna.Study:
    return optuna.create_study(direction=request.param)


def test_a_configuration_is_the_mean_of_its_seeds(study: optuna.Study) -> None:
    add(study, 0.5, {5: 0.2, 10: 0.4})
    add(study, 0.5, {5: 0.4, 10: 0.8}, seed=1)
    add(study, 0.5, {10: 9.0}, TrialState.FAIL, seed=2)
    assert shown(study) == {0.5: ("COMPLETE", pytest.approx(0.6), {5: pytest.approx(0.3), 10: pytest.approx(0.6)})}


def test_one_that_was_stopped_or_is_paused_has_a_forecast_of_its_end(study: optuna.Study) -> None:
    for number in range(10):
        add(study, number / 100, {3: 0.2 + number / 100, 10: 0.5 + number / 100})
    add(study, 0.5, {3: 0.25}, TrialState.PRUNED)
    add(study, 0.6, {3: 0.25}, TrialState.RUNNING)  # at its goal
    add(study, 0.7, {3: 0.25}, TrialState.RUNNING, goal=(6, 1))  # let go on
    seen = shown(study)
    for x in (0.5, 0.6, 0.7):
        state, value, reports = seen[x]
        assert (state, reports) == ("COMPLETE", {3: 0.25})
        assert value == pytest.approx(0.55, abs=0.03), "the others rose by 0.3 from there"


def test_before_any_is_complete_the_forecast_is_where_it_stands(study: optuna.Study) -> None:
    add(study, 0.5, {2: 0.3, 3: 0.5}, TrialState.PRUNED)
    assert shown(study) == {0.5: ("COMPLETE", pytest.approx(0.4), {2: 0.3, 3: 0.5})}


def test_what_has_not_been_seen_at_the_first_rung_runs_and_what_failed_failed(study: optuna.Study) -> None:
    add(study, 0.1, {1: 0.3}, TrialState.RUNNING)
    add(study, 0.2, {}, TrialState.RUNNING)
    add(study, 0.3, {3: 0.3}, TrialState.FAIL, reason=Reason.CRASHED)
    add(study, 0.4, {}, TrialState.PRUNED, reason=Reason.REFUSED)
    add(study, 0.5, {3: 0.3}, TrialState.FAIL, reason=Reason.LOST)
    assert {x: (state, value) for x, (state, value, _) in shown(study).items()} == {
        0.1: ("RUNNING", None),
        0.2: ("RUNNING", None),
        0.3: ("FAIL", None),
        0.4: ("PRUNED", None),
    }


def test_the_study_itself_is_as_it_was_and_has_the_new_trial(study: optuna.Study) -> None:
    add(study, 0.5, {3: 0.25}, TrialState.PRUNED)
    before = study.get_trials()
    trial = Course(study, HALVING, TERMS).ask(SPACE, Watching())
    assert study.get_trials()[:-1] == before
    assert study.get_trials()[-1].params == trial.params
    assert trial.study is study, "whose pruner sees trials, not configurations"


def test_where_each_point_is_tried_once_a_sampler_sees_the_study_itself(study: optuna.Study) -> None:
    add(study, 0.5, {3: 0.25}, TrialState.PRUNED)
    assert shown(study, Once()) == {0.5: ("PRUNED", None, {3: 0.25})}


@pytest.mark.parametrize("sampler", [optuna.samplers.CmaEsSampler(seed=0), optuna.samplers.TPESampler(seed=0, n_startup_trials=4)])
def test_samplers_of_optuna_work_on_it(study: optuna.Study, sampler: optuna.samplers.BaseSampler) -> None:
    space = {**SPACE, "y": FloatDistribution(0.0, 1.0)}
    course = Course(study, HALVING, TERMS)
    for number in range(12):
        trial = course.ask(space, sampler)
        trial.report(trial.params["x"], 3)
        if number % 3 == 0:
            study.tell(trial, trial.params["x"])
        elif number % 3 == 1:
            study.tell(trial, state=TrialState.PRUNED)
    assert len(study.trials) == 12


def test_the_gp_learns_of_what_was_stopped(study: optuna.Study) -> None:
    pytest.importorskip("torch")
    sign = 1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else -1
    for number in range(12):
        x = number / 11
        add(study, x, {3: -sign * (x - 0.8) ** 2}, TrialState.PRUNED)
    sampler = optuna.samplers.GPSampler(seed=0, n_startup_trials=5)
    trial = Course(study, HALVING, TERMS).ask(SPACE, sampler)
    assert abs(trial.params["x"] - 0.8) < 0.15

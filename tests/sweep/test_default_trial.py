"""The point that the knobs replace as a trial: first, whole, and with every seed that the best one has; through the real loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import optuna
import pytest
from commands import drill
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState
from plan_world import STEPS, Killed, World, control, full_runs, history, new_study, of_role
from test_plans import FULL_RUNS, PLANS, RESTORE, halving

from harness import records
from harness.paths import StudyPaths
from harness.types import Role, StudyRecord, TrialSpec
from sweeps.plans.course import SEED

WORST, GOOD = {"x": 0.0}, {"x": 0.69}


def seeds_of(study: optuna.Study, point: Mapping[str, object]) -> set[int]:
    return {trial.user_attrs.get(SEED, 0) for trial in study.trials if trial.params == point and trial.state is TrialState.COMPLETE}


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(FULL_RUNS),
    budget=st.integers(13, 40),
    slots=st.sampled_from([1, 2, 3, 8, 64]),
    default=st.sampled_from([WORST, GOOD]),
)
def test_the_default_comes_first_and_whole_and_has_each_seed_that_the_best_has(
    name: str, budget: int, slots: int, default: Mapping[str, object]
) -> None:
    study, world = new_study(), World(slots=slots)
    loop = control(study, world, PLANS[name](), budget=budget, default=default)
    assert loop.is_whole
    assert full_runs(study, restore_cost=RESTORE) <= budget + 1e-9
    assert [trial.number for trial in of_role(study, Role.TUNING) if trial.params == default] == [0]
    assert (world.trials[0].attempts, world.trials[0].steps) == (1, STEPS)
    chosen = loop.plan.best(loop._course.overview())
    assert chosen is not None
    assert seeds_of(study, default) >= seeds_of(study, study.trials[chosen].params)


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANS)
def test_a_controller_that_dies_before_any_of_its_changes_is_followed_by_one_that_decides_alike(name: str) -> None:
    expected, world = new_study(), World(slots=3)
    control(expected, world, PLANS[name](), budget=12, default=WORST)
    for dies_at in range(1, world.fate.changes + 1):
        study, again = new_study(), World(slots=3)
        with pytest.raises(Killed):
            control(study, again, PLANS[name](), budget=12, dies_at=dies_at, default=WORST)
        control(study, again, PLANS[name](), budget=12, default=WORST)
        assert history(study) == history(expected), f"killed before change {dies_at}"


def test_a_default_that_is_asked_for_later_is_the_next_new_configuration() -> None:
    study, world = new_study(), World(slots=2)
    control(study, world, PLANS["once"](), budget=3)
    control(study, world, PLANS["once"](), budget=5, default=WORST)
    assert [trial.params == WORST for trial in study.trials] == [False, False, False, True, False]


@pytest.mark.parametrize("budget", range(3, 13))
def test_however_small_the_budget_another_one_than_the_default_comes_to_its_end(budget: int) -> None:
    study = new_study()
    control(study, World(slots=1), halving(), budget=budget, default=WORST)
    assert any(trial.state is TrialState.COMPLETE and trial.params != WORST for trial in study.trials)
    assert full_runs(study, restore_cost=RESTORE) <= budget + 1e-9


def test_no_pruner_stops_the_default_and_no_sampler_takes_it_for_its_own() -> None:
    told: list[int] = []

    class Sampler(optuna.samplers.RandomSampler):
        def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
            told.append(trial.number)

    study, sampler = new_study(), Sampler(seed=0)
    study.pruner = optuna.pruners.ThresholdPruner(lower=2.0)
    control(study, World(slots=1), PLANS["once"](), budget=3, default=GOOD, sampler_for=lambda number: sampler)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.PRUNED]
    assert told == [1, 2]
    assert study.trials[0].distributions == {"x": FloatDistribution(0.0, 1.0)}


def test_a_study_launched_with_it_runs_the_recipes_own_values_first(tmp_path: Path) -> None:
    """By the command, with a plan: its record names them, and its first trial has them."""
    asked = ("study.name=own", "study.default_trial=true", "hydra/sweeper/plan=fixed_seeds", "hydra.sweeper.plan.seeds=2", "steps=5")
    ran = drill(tmp_path, *asked, "hydra.sweeper.n_trials=4")
    assert (ran.returncode, ran.stderr) == (0, "")
    study = StudyPaths(tmp_path / "outputs" / "own")
    defaults = {"lr": 1e-6, "kl_coef": 0.001, "rollout_n": 8}
    specs = [records.read(trial.spec, TrialSpec) for trial in study.trials()]
    assert records.read(study.record, StudyRecord).defaults == specs[0].params == defaults
    assert [spec.seed for spec in specs if spec.params == defaults] == [1, 2]
    assert len(specs) == 4

"""What plans decide, through the real loop: budgets, pauses, seeds, restarts; trainings are those of plan_world.py."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_world import STEPS, Killed, World, configuration, control, full_runs, history, new_study, of_role, worth

from harness.types import Role
from sweeps.plans.confirmation import Confirmation
from sweeps.plans.course import GOAL, MESSAGE, SEED
from sweeps.plans.fixed_seeds import FixedSeeds
from sweeps.plans.halving import Halving
from sweeps.plans.once import Once
from sweeps.plans.plan import CONFIRMATION, BasePlan, Decision, Explore, Overview, Phase, Resume, Standing, Terms
from sweeps.plans.racing import Racing, is_worse
from sweeps.samplers.surrogate import SurrogateSampler

RESTORE = 0.02


def halving(*, pause: bool = True) -> Halving:
    return Halving(
        rungs=[0.3, 0.6],
        keep=[0.45, 0.5],
        explore=0.65,
        configurations=1.15,
        confirm=[[0.15, 2], [0.1, 3], [0.05, 5]],
        curve_weight=0.01,
        pause=pause,
        restore_cost=RESTORE,
    )


PLANS: dict[str, Callable[[], BasePlan]] = {
    "once": Once,
    "fixed_seeds": lambda: FixedSeeds(seeds=3),
    "racing": lambda: Racing(explore=0.5, contenders=4, seeds=4, confidence=0.9),
    "confirmation": lambda: Confirmation(configurations=3, seeds=2),
    "halving": halving,
    "halving that stops": lambda: halving(pause=False),
}
FULL_RUNS = [name for name in PLANS if name != "once"]


def run(name: str, *, budget: int, slots: int = 1, **more: int) -> optuna.Study:
    study = new_study()
    control(study, World(slots=slots), PLANS[name](), budget=budget, **more)
    return study


# --- all of them -----------------------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(FULL_RUNS), budget=st.integers(9, 40), slots=st.sampled_from([1, 2, 3, 8, 64]))
def test_a_budget_is_never_passed_and_every_trial_is_told(name: str, budget: int, slots: int) -> None:
    study, world = new_study(), World(slots=slots)
    loop = control(study, world, PLANS[name](), budget=budget)
    assert loop.is_whole
    assert all(trial.state.is_finished() for trial in study.trials)
    assert world.most <= slots
    assert full_runs(study, restore_cost=RESTORE) <= budget + 1e-9
    chosen = loop.plan.best(loop._course.overview())
    assert chosen is not None
    assert study.trials[chosen].value is not None


@pytest.mark.parametrize("slots", [pytest.param(1, marks=pytest.mark.slow), 3])
@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name == "halving" else [pytest.mark.slow]) for name in PLANS])
def test_a_controller_that_dies_before_any_of_its_changes_is_followed_by_one_that_decides_alike(name: str, slots: int) -> None:
    expected, world = new_study(), World(slots=slots)
    undisturbed = control(expected, world, PLANS[name](), budget=9)
    changes = world.fate.changes
    assert changes > 50
    for dies_at in range(1, changes + 1):
        study, again = new_study(), World(slots=slots)
        with pytest.raises(Killed):
            control(study, again, PLANS[name](), budget=9, dies_at=dies_at)
        control(study, again, PLANS[name](), budget=9)
        assert history(study) == history(expected), f"killed before change {dies_at} of {changes}"
        assert sorted(again.diary) == sorted(world.diary)
    assert undisturbed.is_whole


@settings(max_examples=30, deadline=None)
@given(name=st.sampled_from(FULL_RUNS), budget=st.integers(9, 30), slots=st.integers(1, 4))
def test_seeds_that_confirm_never_tuned(name: str, budget: int, slots: int) -> None:
    study = run(name, budget=budget, slots=slots)
    tuned = {trial.user_attrs.get(SEED, 0) for role in (Role.TUNING, Role.REPLICATE) for trial in of_role(study, role)}
    confirmed = {trial.user_attrs[SEED] for trial in of_role(study, Role.CONFIRMATION)}
    assert not tuned & confirmed
    assert max(tuned) < CONFIRMATION <= min(confirmed, default=CONFIRMATION)


@pytest.mark.parametrize("name", FULL_RUNS)
def test_no_configuration_is_tried_twice_with_one_seed(name: str) -> None:
    study = run(name, budget=24, slots=3)
    pairs = Counter((configuration(trial), trial.user_attrs.get(SEED, 0)) for trial in study.trials)
    assert set(pairs.values()) == {1}


@pytest.mark.parametrize("name", FULL_RUNS)
def test_a_larger_budget_goes_on_where_the_smaller_one_ended(name: str) -> None:
    study, world = new_study(), World(slots=2)
    control(study, world, PLANS[name](), budget=10)
    before = history(study)
    control(study, world, PLANS[name](), budget=20)
    assert history(study)[: len(before)] == before
    assert 10 < full_runs(study, restore_cost=RESTORE) <= 20


@pytest.mark.parametrize("name", PLANS)
def test_a_study_that_is_to_conclude_begins_no_configuration_and_still_confirms(name: str) -> None:
    study = new_study()
    loop = control(study, World(slots=2), PLANS[name](), budget=40, concludes_at=12)
    assert len(of_role(study, Role.TUNING)) == 12
    assert all(trial.state.is_finished() for trial in study.trials)
    assert not loop.is_whole  # more was asked for
    if name in ("confirmation", "halving", "halving that stops"):
        assert of_role(study, Role.CONFIRMATION)


@pytest.mark.parametrize("name", FULL_RUNS)
def test_to_minimize_is_to_maximize_the_negative(name: str) -> None:
    up, down = new_study(), new_study("minimize")
    control(up, World(slots=2), PLANS[name](), budget=12)
    control(down, World(slots=2, sign=-1), PLANS[name](), budget=12)
    assert [(trial.params, trial.user_attrs, trial.state) for trial in down.trials if MESSAGE not in trial.user_attrs] == [
        (trial.params, trial.user_attrs, trial.state) for trial in up.trials if MESSAGE not in trial.user_attrs
    ]


@pytest.mark.parametrize("name", FULL_RUNS)
def test_a_space_that_is_used_up_ends_the_exploring(name: str) -> None:
    study = run(name, budget=20, most_configurations=5)
    assert len(of_role(study, Role.TUNING)) == 5


def surrogate(number: int) -> optuna.samplers.BaseSampler:
    return SurrogateSampler(seed=number, n_trials=9, startup=0.3, least_startup=3, courage=1.0, draws=16)


SAMPLERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "surrogate": surrogate,
    "tpe": lambda number: optuna.samplers.TPESampler(seed=number, n_startup_trials=3, constant_liar=True),
    "cmaes": lambda number: optuna.samplers.CmaEsSampler(seed=number),
    "nsgaii": lambda number: optuna.samplers.NSGAIISampler(seed=number, population_size=3),
    "grid": lambda _: optuna.samplers.GridSampler({"x": [0.1, 0.3, 0.5, 0.7]}, seed=0),
    "qmc": lambda _: optuna.samplers.QMCSampler(seed=0, warn_independent_sampling=False),
}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("name", ["fixed_seeds", "halving"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_works_with_replicates_and_pauses(name: str, sampler: str) -> None:
    most = 4 if sampler == "grid" else None
    study = new_study()
    loop = control(study, World(slots=2), PLANS[name](), budget=12, sampler_for=SAMPLERS[sampler], most_configurations=most)
    assert loop.is_whole
    configurations = {configuration(trial) for trial in study.trials}
    assert len(configurations) == len(of_role(study, Role.TUNING)) == 4 if most else len(configurations) >= 4


@pytest.mark.parametrize("sampler", ["surrogate", "tpe"])
def test_samplers_that_learn_propose_alike_after_a_controllers_death(sampler: str) -> None:
    expected, world = new_study(), World(slots=2)
    control(expected, world, halving(), budget=6, sampler_for=SAMPLERS[sampler])
    for dies_at in range(1, world.fate.changes + 1, 3):
        study, again = new_study(), World(slots=2)
        with pytest.raises(Killed):
            control(study, again, halving(), budget=6, dies_at=dies_at, sampler_for=SAMPLERS[sampler])
        control(study, again, halving(), budget=6, sampler_for=SAMPLERS[sampler])
        assert history(study) == history(expected), f"killed before change {dies_at}"


# --- once ------------------------------------------------------------------------------------------------------------------------------


def test_once_tries_each_point_once_and_writes_nothing_beside_it() -> None:
    study = run("once", budget=7, slots=3)
    assert [trial.user_attrs for trial in study.trials] == [{}] * 7


# --- fixed seeds -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [1, 4])
def test_every_configuration_gets_the_same_seeds(slots: int) -> None:
    seeds = defaultdict(set)
    for trial in run("fixed_seeds", budget=13, slots=slots).trials:
        seeds[configuration(trial)].add(trial.user_attrs.get(SEED, 0))
    assert list(seeds.values()) == [{0, 1, 2}] * 4, "the thirteenth run pays for no fifth one"


def test_what_failed_with_its_first_seed_gets_no_other() -> None:
    study, world = new_study(), World(slots=2, failing=frozenset({0}))
    control(study, world, FixedSeeds(seeds=3), budget=6)
    assert of_role(study, Role.REPLICATE) == []


# --- racing ----------------------------------------------------------------------------------------------------------------------------


def test_in_a_race_all_have_the_same_seeds_until_they_drop_out() -> None:
    study = run("racing", budget=24, slots=3)
    seeds = defaultdict(list)
    for trial in study.trials:
        seeds[configuration(trial)].append(trial.user_attrs.get(SEED, 0))
    assert all(sorted(tried) == list(range(len(tried))) for tried in seeds.values())
    counts = Counter(len(tried) for tried in seeds.values())
    assert 2 <= sum(count for tried, count in counts.items() if tried > 1) <= 4


def test_a_contender_is_dropped_on_the_interval_of_the_paired_difference() -> None:
    assert is_worse([0.5, 0.6, 0.4], [0.6, 0.7, 0.5], confidence=0.9), "seeds differ, the difference does not"
    assert not is_worse([0.5, 0.8], [0.6, 0.7], confidence=0.9)
    assert not is_worse([0.1], [0.9], confidence=0.9), "one pair says nothing"
    # mean 0.1, standard error 0.05, Student's quantile for 2 degrees of freedom: 1.886 at 0.9, 2.920 at 0.95
    three = [0.1 + math.sqrt(3) * 0.05, 0.1 - math.sqrt(3) * 0.05, 0.1]
    assert is_worse([0.0, 0.0, 0.0], three, confidence=0.9)
    assert not is_worse([0.0, 0.0, 0.0], three, confidence=0.95)


# --- confirmation ----------------------------------------------------------------------------------------------------------------------


def test_the_best_of_tuning_are_confirmed() -> None:
    study = run("confirmation", budget=20, slots=3)
    tuned = sorted(of_role(study, Role.TUNING), key=lambda trial: -(trial.value or 0))
    assert len(tuned) == 14
    confirmed = Counter(configuration(trial) for trial in of_role(study, Role.CONFIRMATION))
    assert confirmed == {configuration(trial): 2 for trial in tuned[:3]}


# --- halving ---------------------------------------------------------------------------------------------------------------------------


def test_trials_pause_at_rungs_and_the_better_ones_go_on() -> None:
    study, world = new_study(), World(slots=1)
    control(study, world, halving(), budget=20)
    happened = [what for _, what, _ in world.diary]
    assert happened.count("paused") > 5
    tuning = of_role(study, Role.TUNING)
    stood = {3: [], 6: [], 10: []}
    for trial in tuning:
        stood[max(trial.intermediate_values)].append(trial)
    assert all(len(trials) >= 3 for trials in stood.values())
    resumed = [trial for trial in tuning if trial.user_attrs.get(GOAL, [None, 0])[1]]
    assert resumed
    at_first = {trial.number: trial.intermediate_values[3] for trial in tuning}
    went_on = [at_first[trial.number] for trial in tuning if max(trial.intermediate_values) > 3]
    stayed = [at_first[trial.number] for trial in stood[3]]
    assert sum(went_on) / len(went_on) > sum(stayed) / len(stayed)


def test_who_is_the_best_of_all_runs_on_without_a_pause() -> None:
    study, world = new_study(), World(slots=1)
    control(study, world, halving(), budget=20)
    through = [number for number, training in world.trials.items() if training.steps == STEPS and training.attempts == 1]
    tuning = {trial.number for trial in of_role(study, Role.TUNING)}
    assert tuning.intersection(through), "a restore would have been paid for nothing"
    assert all(study.trials[number].user_attrs[GOAL][1] == 0 for number in tuning.intersection(through))


def test_who_stays_behind_is_told_as_pruned_and_where_it_stood() -> None:
    study = run("halving", budget=12)
    behind = [trial for trial in study.trials if trial.state is optuna.trial.TrialState.PRUNED]
    assert behind
    assert all(trial.user_attrs[MESSAGE].startswith(f"paused at step {max(trial.intermediate_values)}, and ") for trial in behind)


def test_without_pauses_nobody_is_started_twice() -> None:
    study, world = new_study(), World(slots=3)
    control(study, world, halving(pause=False), budget=20)
    assert {training.attempts for training in world.trials.values()} == {1}
    assert "paused" not in {what for _, what, _ in world.diary}
    assert any(max(trial.intermediate_values) == 3 for trial in study.trials)


def standing(number: int, phase: Phase, value: float, *, goal: int | None = 3) -> Standing:
    """At the first rung."""
    return Standing(
        number=number,
        configuration=str(number),
        role=Role.TUNING,
        seed=0,
        phase=phase,
        reports={3: value},
        value=None,
        goal=goal,
        went_on=goal != 3,
        restores=0,
    )


def decision(plan: BasePlan, *standings: Standing) -> Decision | None:
    return plan.next(Overview(Terms(budget=40, total_steps=STEPS), 0, 0, lambda: standings))


def test_where_all_begin_alike_as_many_go_on_as_where_they_differ() -> None:
    """A reward that is 0 until something is found: who came first and was stopped takes nobody's place."""
    stopped = [standing(number, Phase.ENDED, 0.0) for number in range(6)]
    gone_on = [standing(number, Phase.RUNNING, 0.0, goal=6) for number in (6, 7, 8)]
    arriving = standing(9, Phase.PAUSED, 0.0)
    plan = halving(pause=False)
    assert decision(plan, *stopped, *gone_on, arriving) == Resume(number=9, goal=6), "4 of 10 go on, and 3 have"
    assert decision(plan, *stopped[:-1], standing(5, Phase.RUNNING, 0.0, goal=6), *gone_on, arriving) == Explore()


def test_who_is_on_a_higher_rung_goes_on_first_and_then_who_is_better() -> None:
    low = [standing(number, Phase.PAUSED, number / 10) for number in range(5)]
    assert decision(halving(), *low) == Resume(number=4, goal=6)
    high = [replace(standing(number, Phase.PAUSED, 0.0, goal=6), reports={3: 0.9, 6: value}) for number, value in ((5, 0.2), (6, 0.1))]
    assert decision(halving(), *low, *high) == Resume(number=5, goal=None)


def test_more_seeds_go_to_fewer() -> None:
    study = run("halving", budget=40, slots=4)
    seeds = Counter(configuration(trial) for trial in of_role(study, Role.CONFIRMATION))
    assert sorted(seeds.values(), reverse=True) == [4, 4, 2, 2, 1, 1]


def test_the_plan_gets_no_more_seeds_than_there_are() -> None:
    study = run("halving", budget=40, most_seeds=3)
    assert len({trial.user_attrs.get(SEED, 0) for trial in study.trials}) == 3


@pytest.mark.parametrize("budget", range(2, 13))
def test_however_small_the_budget_one_comes_to_its_end(budget: int) -> None:
    assert any(trial.state is optuna.trial.TrialState.COMPLETE for trial in run("halving", budget=budget).trials)


def test_a_replicate_that_fails_is_the_worst_there_is() -> None:
    study, world = new_study(), World(slots=2, failing=frozenset({CONFIRMATION}))
    loop = control(study, world, halving(), budget=20)
    failed = [trial for trial in of_role(study, Role.CONFIRMATION) if trial.state is optuna.trial.TrialState.FAIL]
    assert failed
    assert loop.plan.best(loop._course.overview()) is not None
    assert loop.is_whole


def test_slots_only_wait_between_rounds_of_confirmation() -> None:
    """Twenty times as many slots take less than a tenth of the time to explore."""
    ends = {}
    for slots in (1, 20):
        study, world = new_study(), World(slots=slots)
        control(study, world, halving(), budget=40)
        first = min(trial.number for trial in of_role(study, Role.CONFIRMATION))
        ends[slots] = next(at for at, what, number in world.diary if what == "start" and number == first)
    assert ends[20] < ends[1] / 8


def test_the_made_up_curves_have_a_best_point() -> None:
    assert worth({"x": 0.7}, 0, STEPS) > worth({"x": 0.2}, 0, STEPS)

"""The forecast's pruner stops who cannot win any more, and nobody before it knows how trials end."""

from __future__ import annotations

import math

import optuna
import pytest
from curves import best_of, made_up, one_by_one, side_by_side
from optuna.trial import TrialState

from harness.forecast import Whole
from sweeps.pruners.forecast import ForecastPruner, is_hopeless

SAMPLER = optuna.samplers.RandomSampler(seed=0)
FLAT = [0.1] * 10
GOOD = [0.1 * step for step in range(1, 11)]


def pruner(**changed: float) -> ForecastPruner:
    return ForecastPruner(**{"coverage": 0.8, "min_resource": 2, "n_min_trials": 4, **changed})  # type: ignore[arg-type]


def test_who_cannot_win_any_more_is_stopped_and_who_can_goes_on() -> None:
    stops = one_by_one(pruner(), [*[FLAT, GOOD] * 6, FLAT, GOOD])
    assert stops[:4] == [None] * 4
    assert stops[-2:] == [2, None]


def test_minimizing_is_maximizing_of_the_opposite() -> None:
    curves = made_up(3)
    opposite = [[-value for value in curve] for curve in curves]
    stops = one_by_one(pruner(), curves)
    assert sum(stop is not None for stop in stops) > 10
    assert one_by_one(pruner(), opposite, direction="minimize") == stops


@pytest.mark.parametrize("seed", range(5))
def test_the_best_is_rarely_stopped_and_much_is_saved(seed: int) -> None:
    curves = made_up(seed)
    stops = side_by_side(optuna.create_study(pruner=pruner(), sampler=SAMPLER, direction="maximize"), curves, slots=4)
    kept = [number for number in range(len(curves)) if number not in stops]
    assert sum(stops.get(number, 10) for number in range(len(curves))) < 0.8 * 10 * len(curves)
    assert sorted(curves, key=lambda curve: -curve[-1]).index(curves[best_of(curves, kept)]) < 3


def test_a_running_trial_that_is_sure_to_win_ends_the_others_too() -> None:
    wholes = [Whole(reports={1: level, 2: level, 3: level}, value=level) for level in (0.1, 0.1, 0.1, 0.5, 0.5, 0.5, 0.8)]
    mine, leader = {1: 0.5, 2: 0.5}, {1: 2.0, 2: 2.0, 3: 2.0}
    assert not is_hopeless({1: 0.8, 2: 0.8}, [], wholes, coverage=0.6)
    assert is_hopeless(mine, [leader], wholes, coverage=0.6)


def test_nobody_is_stopped_within_the_grace_or_before_enough_trials_are_complete() -> None:
    assert one_by_one(pruner(min_resource=10), [*[FLAT, GOOD] * 6, FLAT])[-1] == 10
    assert one_by_one(pruner(n_min_trials=20), [FLAT, GOOD] * 8) == [None] * 16


def test_the_storage_alone_decides_and_nothing_is_added_to_it() -> None:
    study = optuna.create_study(pruner=pruner(), sampler=SAMPLER, direction="maximize")
    stops = side_by_side(study, made_up(2), slots=4)
    assert stops
    assert not any(trial.system_attrs or trial.user_attrs for trial in study.trials)
    fresh = optuna.create_study(pruner=pruner(), sampler=SAMPLER, direction="maximize")
    assert side_by_side(fresh, made_up(2), slots=4) == stops


def test_nan_says_nothing_and_nothing_but_nan_ends_a_trial() -> None:
    study = optuna.create_study(pruner=pruner(), sampler=SAMPLER, direction="maximize")
    side_by_side(study, [GOOD] * 4, slots=1)
    trial = study.ask()
    trial.report(math.nan, 2)
    assert trial.should_prune()
    trial.report(0.3, 3)
    assert not trial.should_prune()
    assert study.trials[-1].state is TrialState.RUNNING


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"coverage": 1.0}, "coverage: expected a number between 0 and 1, got 1.0"),
        ({"min_resource": 0}, "min_resource: expected a whole number of at least 1, got 0"),
        ({"n_min_trials": 2.5}, "n_min_trials: expected a whole number of at least 1, got 2.5"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(changed: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pruner(**changed)

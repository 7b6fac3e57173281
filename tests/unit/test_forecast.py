"""Forecasts hold what they promise on curves that were made up, and say no more than the study's own trials have shown."""

from __future__ import annotations

import random

import pytest

from harness.forecast import Forecast, Whole, forecast, level


def whole(*values: float) -> Whole:
    return Whole(reports=dict(enumerate(values, 1)), value=values[-1])


def expected(reports: dict[int, float], wholes: list[Whole], coverage: float = 0.8) -> Forecast:
    found = forecast(reports, wholes, coverage=coverage)
    assert found is not None
    return found


def rising(rng: random.Random, steps: int = 20) -> list[float]:
    """Ends somewhere between 0 and 1, with the noise of a validation."""
    top, half = rng.random(), rng.uniform(2, 10)
    return [top * step / (step + half) + rng.gauss(0, 0.03) for step in range(1, steps + 1)]


@pytest.mark.parametrize("ended", [4, 16, 64])
@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_intervals_hold_about_as_often_as_they_promise(coverage: float, ended: int) -> None:
    rng = random.Random(7)
    held = []
    for _ in range(60):
        wholes = [whole(*rising(rng)) for _ in range(ended)]
        for so_far in (4, 10, 16):
            curve = rising(rng)
            found = expected(dict(enumerate(curve[:so_far], 1)), wholes, coverage)
            held.append(found.low <= curve[-1] <= found.high)
    assert coverage - 0.08 < sum(held) / len(held) < coverage + 0.12


def test_intervals_narrow_as_trials_end_and_as_a_training_goes_on() -> None:
    rng = random.Random(1)
    wholes, curve = [whole(*rising(rng)) for _ in range(64)], rising(rng)
    few, many, later = (expected(dict(enumerate(curve[:so_far], 1)), wholes[:ended]) for ended, so_far in ((4, 8), (64, 8), (64, 18)))
    assert few.high - few.low > many.high - many.low > later.high - later.low


def test_a_curve_is_expected_to_do_what_those_near_it_did() -> None:
    flat, riser = whole(0.0, 0.0, 0.0, 0.0), whole(0.5, 0.5, 0.9, 1.0)
    wholes = [flat] * 8 + [riser] * 8
    assert expected({1: 0.0, 2: 0.0}, wholes).high == 0.0
    assert expected({1: 0.5, 2: 0.5}, wholes).value == 1.0
    assert expected({1: 0.5, 2: 0.5}, wholes).low == 1.0


def test_collapses_that_were_seen_are_reckoned_with() -> None:
    wholes = [whole(0.8, 0.8, 0.8, 0.8)] * 6 + [whole(0.8, 0.8, 0.8, 0.0)] * 4
    assert expected({1: 0.8, 2: 0.8}, wholes).low == 0.0


def test_what_nobody_has_seen_gets_the_whole_range() -> None:
    found = expected({1: 0.5, 2: 0.5}, [whole(0.0, 0.0, 0.0, 0.0)] * 8 + [whole(1.0, 1.0, 1.0, 1.0)] * 8, 0.9)
    assert (found.low, found.high) == (0.0, 1.0)


def test_a_study_in_which_all_is_alike_is_forecast_to_be_so() -> None:
    assert expected({1: 0.5}, [whole(0.5, 0.5)] * 3) == Forecast(value=0.5, low=0.5, high=0.5)


def test_the_end_is_in_the_units_of_what_optuna_was_told() -> None:
    best = [Whole(reports={1: 0.2, 2: 0.9, 3: 0.1}, value=0.9)] * 9
    assert expected({1: 0.2}, best).value == pytest.approx(0.9)


def test_without_evidence_nothing_is_said() -> None:
    assert forecast({}, [whole(1.0, 1.0)], coverage=0.8) is None
    assert forecast({5: 1.0}, [whole(1.0, 1.0)], coverage=0.8) is None
    assert forecast({5: 1.0}, [], coverage=0.8) is None


def test_a_level_is_the_mean_of_the_last_reports_up_to_a_step() -> None:
    reports = {10: 3.0, 5: 1.0, 15: 9.0}
    assert [level(reports, step) for step in (1, 5, 12, 15)] == [1.0, 1.0, 2.0, 6.0]

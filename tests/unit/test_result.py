"""What a study found: who is the best, of which seeds its mean is, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from harness.result import Estimate, Result, best_trial, result_of
from harness.trial_status import TrialStatus
from harness.types import Direction, Objective, Role, TrialState

OBJECTIVE = Objective(metric="val-core/*")


def trials(*seen: tuple[str, int, float] | tuple[str, int, float, Role]) -> list[TrialStatus]:
    """(configuration, seed, value, role), numbered as they come."""
    return [
        TrialStatus(
            number=number,
            state=TrialState.COMPLETE,
            configuration=one[0],
            seed=one[1],
            values=(one[2],),
            role=one[3] if len(one) > 3 else Role.TUNING,
        )
        for number, one in enumerate(seen)
    ]


def found(all_of_them: Iterable[TrialStatus], direction: Direction = Direction.MAXIMIZE) -> Result:
    result = result_of(all_of_them, [Objective(metric="val-core/*", direction=direction)])
    assert result is not None
    return result


def test_with_one_seed_each_the_best_trial_is_the_result_and_has_no_interval() -> None:
    seen = trials(("a", 1, 0.5), ("b", 1, 0.7), ("c", 1, 0.7))
    result = found(seen)
    assert result.best == Estimate(
        configuration="b", trials=(1,), seeds=(1,), mean=0.7, half_width=None, overall=0.7, confirmed=False, contends=True
    )
    assert (result.replicated, result.ties) == (False, ())
    assert best_trial(seen, OBJECTIVE) == seen[1], "the first of equal ones"


def test_a_lucky_seed_does_not_beat_a_mean() -> None:
    seen = trials(("a", 1, 0.6), ("a", 2, 0.7), ("b", 1, 0.9))
    result = found(seen)
    assert (result.best.configuration, result.best.seeds, result.best.mean) == ("a", (1, 2), pytest.approx(0.65))
    assert [one.contends for one in result.estimates] == [True, False]
    assert best_trial(seen, OBJECTIVE) == seen[1]


def test_one_seed_that_a_fault_has_cost_takes_nobody_out() -> None:
    seen = trials(*(("a", seed, 0.5) for seed in range(4)), *(("b", seed, 0.8) for seed in range(3)), ("c", 0, 0.9), ("c", 1, 0.9))
    result = found(seen)
    assert [(one.configuration, one.contends) for one in result.estimates] == [("b", True), ("a", True), ("c", False)]


def test_a_seed_that_ran_twice_counts_once() -> None:
    result = found(trials(("a", 1, 0.6), ("a", 1, 0.6), ("b", 1, 0.7)))
    assert (result.best.configuration, result.replicated) == ("b", False)


def test_a_confirmed_configuration_is_reported_by_the_seeds_that_chose_nothing() -> None:
    """It is picked by all its seeds: those of a tuning that chose all contenders alike still tell something."""
    seen = trials(
        ("a", 0, 0.9), ("b", 0, 0.8), ("c", 0, 0.95),
        ("a", 11, 0.5, Role.CONFIRMATION), ("a", 12, 0.7, Role.CONFIRMATION),
        ("b", 11, 0.6, Role.CONFIRMATION), ("b", 12, 0.4, Role.CONFIRMATION),
    )  # fmt: skip
    result = found(seen)
    best = result.best
    assert (best.configuration, best.confirmed, best.seeds, best.trials) == ("a", True, (11, 12), (0, 3, 4))
    assert (best.mean, best.overall) == (pytest.approx(0.6), pytest.approx(0.7))
    assert result.ties == ("b",)
    assert [one.contends for one in result.others] == [True, False], "who was not confirmed is no contender, however good one seed was"
    assert result.others[1].half_width == pytest.approx(best.half_width * 2**0.5), "borrowed from those that have two"


def test_replicates_that_choose_are_no_confirmation() -> None:
    result = found(trials(("a", 0, 0.9), ("a", 1, 0.7, Role.REPLICATE), ("b", 0, 0.1), ("b", 1, 0.2, Role.REPLICATE)))
    assert (result.best.confirmed, result.best.seeds, result.best.mean) == (False, (0, 1), pytest.approx(0.8))


def test_who_cannot_be_told_from_the_best_is_named() -> None:
    seen = trials(
        *(("a", seed, 0.70 + 0.01 * seed) for seed in range(3)),
        *(("b", seed, 0.71 + 0.02 * (1 - seed)) for seed in range(3)),
        *(("c", seed, 0.30 + 0.01 * seed) for seed in range(3)),
    )
    result = found(seen)
    assert (result.best.configuration, result.ties) == ("a", ("b",))


def test_less_is_better_where_it_is_minimized() -> None:
    seen = trials(("a", 1, 0.6), ("a", 2, 0.7), ("b", 1, 0.1), ("b", 2, 0.2))
    assert found(seen, Direction.MINIMIZE).best.configuration == "b"
    assert best_trial(seen, Objective(metric="m", direction=Direction.MINIMIZE)) == seen[2]


def test_only_complete_trials_with_finite_values_are_evidence() -> None:
    one = trials(("a", 1, float("nan")))
    pruned = [TrialStatus(number=1, state=TrialState.PRUNED, configuration="b", seed=1)]
    assert result_of([*one, *pruned], [OBJECTIVE]) is None
    assert best_trial([*one, *pruned], OBJECTIVE) is None


def test_of_several_objectives_no_configuration_is_the_best() -> None:
    assert result_of(trials(("a", 1, 0.6)), [OBJECTIVE, OBJECTIVE]) is None

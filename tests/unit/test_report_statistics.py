"""Claims about the statistics that stand beside a result: against scipy, closed forms and simulated studies."""

from __future__ import annotations

import numpy
import pytest
import scipy.stats

from analysis.report.statistics import bootstrap, interquartile_mean, luck_of_the_best, probability_of_improvement


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 11])
def test_interquartile_mean_is_scipys_trimmed_mean(count: int) -> None:
    values = numpy.random.default_rng(count).normal(size=count).tolist()
    assert interquartile_mean(values) == pytest.approx(scipy.stats.trim_mean(values, 0.25))


def test_probability_of_improvement_is_mann_and_whitneys_u_over_all_pairs() -> None:
    one, other = [0.3, 0.5, 0.5, 0.9], [0.1, 0.5, 0.7]
    assert probability_of_improvement(one, other) == pytest.approx(scipy.stats.mannwhitneyu(one, other).statistic / 12)


def test_of_many_seeds_the_bootstrap_is_the_normal_interval() -> None:
    values = numpy.random.default_rng(0).normal(3.0, 2.0, size=400)
    interval = bootstrap({"a": dict(enumerate(values.tolist()))}, confidence=0.9)["a"]
    half = scipy.stats.norm.ppf(0.95) * values.std() / 20
    assert (interval.low, interval.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)


def test_configurations_that_share_their_seeds_are_resampled_together() -> None:
    """What a seed does to all alike cancels in their difference, as it does in pairs."""
    first = {0: 0.1, 1: 0.9, 2: 0.4}
    found = bootstrap({"a": first, "b": {seed: value + 1 for seed, value in first.items()}}, confidence=0.9)
    assert found["b"].low - found["a"].low == pytest.approx(1.0)
    assert found["b"].high - found["a"].high == pytest.approx(1.0)


def test_one_seed_has_no_bootstrap_interval() -> None:
    assert bootstrap({"a": {0: 0.5}}, confidence=0.9) == {}


@pytest.mark.parametrize(("seeds", "least", "most"), [(3, 0.55, 0.68), (10, 0.80, 0.89)])
def test_bootstrap_intervals_of_few_seeds_hold_the_mean_less_often_than_they_say(seeds: int, least: float, most: float) -> None:
    """As its docstring says, and why nothing is decided by it."""
    random = numpy.random.default_rng(seeds)
    studies = {str(place): dict(enumerate(random.normal(size=seeds).tolist(), 100 * place)) for place in range(1500)}
    held = [interval.low <= 0 <= interval.high for interval in bootstrap(studies, confidence=0.9).values()]
    assert least < numpy.mean(held) < most


def test_the_luck_of_the_best_is_what_its_mean_exceeds_its_truth_by() -> None:
    """Over simulated studies of twelve configurations with three seeds each, however far their true means are apart; rather less."""
    random = numpy.random.default_rng(1)
    for spread in (0.0, 0.5, 2.0):
        expected, truly = [], []
        for _ in range(2000):
            truth = random.normal(0, spread, size=12)
            seen = truth[:, None] + random.normal(size=(12, 3))
            best = int(seen.mean(axis=1).argmax())
            luck = luck_of_the_best(seen.tolist())
            assert luck is not None
            expected.append(luck.amount)
            truly.append(seen[best].mean() - truth[best])
        assert 0.8 * numpy.mean(truly) - 0.02 < numpy.mean(expected) < 1.1 * numpy.mean(truly) + 0.02


def test_no_luck_is_told_without_replicates_or_rivals() -> None:
    assert luck_of_the_best([[0.1], [0.2], [0.4]]) is None
    assert luck_of_the_best([[0.1, 0.2]]) is None

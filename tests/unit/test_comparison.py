"""Intervals and ties: against scipy where it has a closed form, and by simulation."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from scipy import stats

from harness.comparison import PRIOR_DEGREES, Difference, Spread, from_control, half_width, not_worse, paired, spreads
from harness.dunnett import one_sided_point


def drawn(rng: random.Random, means: list[float], *, seeds: int, sd: float = 1.0, of_seed: float = 0.0) -> list[dict[int, float]]:
    """Normal values by seed; `of_seed`: the standard deviation of what a seed does to all alike."""
    alike = [rng.gauss(0, of_seed) for _ in range(seeds)]
    return [{seed: mean + alike[seed] + rng.gauss(0, sd) for seed in range(seeds)} for mean in means]


@pytest.mark.parametrize("degrees", [1, 2, 4, 9, 30, 400])
@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.975])
def test_one_difference_alone_is_students_t(degrees: int, confidence: float) -> None:
    assert one_sided_point((0.5,), degrees, confidence) == pytest.approx(stats.t.ppf(confidence, degrees), rel=3e-3)


@pytest.mark.parametrize(("groups", "size"), [(3, 4), (5, 3), (11, 2)])
def test_several_differences_are_what_scipys_test_of_dunnett_says(groups: int, size: int) -> None:
    """Its p-value at our point is what is left of the confidence; scipy integrates by chance, to about two digits."""
    point = one_sided_point((0.5,) * (groups - 1), groups * (size - 1), 0.9)
    base = np.linspace(-1, 1, size)
    base = base / base.std(ddof=1)
    highest = base + point * math.sqrt(2 / size)  # one mean lies at the point, all standard deviations are 1
    found = stats.dunnett(highest, *[base - 50] * (groups - 2), control=base, alternative="greater", rng=np.random.default_rng(0))
    assert found.statistic.max() == pytest.approx(point, rel=1e-6)
    assert found.pvalue.min() == pytest.approx(0.1, abs=5e-3)


def test_a_control_with_fewer_seeds_has_its_own_point() -> None:
    rng = np.random.default_rng(0)
    shares, degrees = (0.25, 0.5, 0.75), 6
    common, ratio = rng.standard_normal(200_000), np.sqrt(rng.chisquare(degrees, 200_000) / degrees)
    worst = np.max([math.sqrt(1 - share) * rng.standard_normal(200_000) + math.sqrt(share) * common for share in shares], axis=0) / ratio
    assert one_sided_point(shares, degrees, 0.9) == pytest.approx(float(np.quantile(worst, 0.9)), rel=0.01)


def test_two_samples_of_equal_spread_have_the_textbook_interval() -> None:
    first, second = spreads([[1.0, 3.0], [5.0, 7.0]])
    assert first == second == Spread(sd=math.sqrt(2), degrees=2)
    assert half_width(Spread(sd=2.0, degrees=3), 4, confidence=0.9) == pytest.approx(stats.t.ppf(0.95, 3), rel=1e-3)


def test_a_spread_lies_between_its_own_and_the_pooled_one_and_nearer_its_own_with_more_values() -> None:
    few = spreads([[0.0, 2.0], [0.0, 20.0]])[0]
    many = spreads([[0.0, 2.0] * 4, [0.0, 20.0]])[0]
    assert few is not None
    assert many is not None
    assert math.sqrt(2) < many.sd < few.sd < math.sqrt((2 + 200) / 2)
    assert (few.degrees, many.degrees) == (2, min(PRIOR_DEGREES + 7, 8))


def test_one_value_borrows_the_spread_of_the_others_and_alone_has_none() -> None:
    alone, pair = spreads([[4.0], [1.0, 3.0]])
    assert alone == Spread(sd=math.sqrt(2), degrees=1)
    assert pair == Spread(sd=math.sqrt(2), degrees=1)
    assert spreads([[4.0], [1.0]]) == [None, None]


def test_the_truly_best_is_named_as_often_as_promised() -> None:
    """Equal means are the worst case, in which each of them is the best; 400 draws stray by 0.015."""
    rng, named = random.Random(0), 0
    for _ in range(400):
        named += 3 in not_worse(drawn(rng, [0.0] * 6, seeds=3), confidence=0.9)
    assert 0.86 <= named / 400 <= 0.94


@pytest.mark.parametrize("of_seed", [0.0, 5.0])
def test_what_a_seed_does_to_all_alike_hides_no_difference(of_seed: float) -> None:
    rng, alone = random.Random(1), 0
    for _ in range(100):
        kept = not_worse(drawn(rng, [0.0, 0.0, 4.0], seeds=4, of_seed=of_seed), confidence=0.9)
        assert 2 in kept
        alone += kept == [2]
    assert alone > 90


def test_samples_of_other_seeds_are_compared_unpaired() -> None:
    high, low = {0: 1.0, 1: 1.2, 2: 0.8}, {3: 0.1, 4: 0.3, 5: -0.1}
    assert not_worse([high, low], confidence=0.9) == [0]
    assert not_worse([high, {seed: value + 0.85 for seed, value in low.items()}], confidence=0.9) == [0, 1]


def test_intervals_hold_the_true_mean_as_often_as_promised() -> None:
    rng, held, count = random.Random(2), 0, 0
    for _ in range(150):
        samples = [list(sample.values()) for sample in drawn(rng, [0.0] * 6, seeds=3)]
        for sample, spread in zip(samples, spreads(samples), strict=True):
            assert spread is not None
            held += abs(sum(sample) / 3) <= half_width(spread, 3, confidence=0.9)
            count += 1
    assert 0.87 <= held / count <= 0.95


def test_without_a_second_seed_or_a_second_sample_nothing_is_ruled_out() -> None:
    assert not_worse([{0: 1.0}, {0: 0.0}], confidence=0.9) == [0, 1]
    assert not_worse([{0: 1.0, 1: 2.0}], confidence=0.9) == [0]


def test_without_any_spread_only_equals_are_tied() -> None:
    same, less = {0: 1.0, 1: 1.0, 2: 1.0, 3: 1.0}, {0: 0.5, 1: 0.5, 2: 0.5, 3: 0.5}
    assert not_worse([same, dict(same), less], confidence=0.9) == [0, 1]


@pytest.mark.parametrize("count", [1, 4])
def test_differences_from_a_control_have_the_intervals_that_scipys_test_of_dunnett_has(count: int) -> None:
    """With one other sample to three digits; with several a little wider, since each side keeps half of what is left."""
    rng = random.Random(3)
    control, *samples = [{seed + 10 * place: rng.gauss(place, 1) for seed in range(4)} for place in range(1 + count)]
    found = from_control(control, samples, confidence=0.9)
    asked = stats.dunnett(*[list(sample.values()) for sample in samples], control=list(control.values()), rng=np.random.default_rng(0))
    theirs = asked.confidence_interval(0.9)
    assert [one.paired for one in found] == [False] * count
    for one, low, high in zip(found, theirs.low, theirs.high, strict=True):
        assert one.mean == pytest.approx((low + high) / 2, abs=1e-6)
        assert (high - low) / 2 * 0.985 <= (one.half_width or 0) <= (high - low) / 2 * 1.05
        assert count > 1 or one.half_width == pytest.approx((high - low) / 2, rel=3e-3)


@pytest.mark.parametrize("of_seed", [0.0, 5.0])
def test_intervals_hold_all_true_differences_from_a_control_at_once(of_seed: float) -> None:
    rng, held = random.Random(4), 0
    for _ in range(300):
        control, *samples = drawn(rng, [0.0, 0.0, 1.0, 2.0], seeds=4, of_seed=of_seed)
        found = from_control(control, samples, confidence=0.9)
        held += all(abs(one.mean - true) <= (one.half_width or 0) for one, true in zip(found, [0.0, 1.0, 2.0], strict=True))
    assert 0.88 <= held / 300 <= 0.96


def test_one_seed_each_gives_a_difference_and_no_interval() -> None:
    assert from_control({0: 1.0}, [{0: 3.0}], confidence=0.9) == [Difference(mean=2.0, half_width=None, paired=False)]


def test_what_two_share_is_compared_seed_by_seed_as_scipy_does() -> None:
    first, second = {1: 0.50, 2: 0.70, 3: 0.61, 4: 9.0}, {1: 0.58, 2: 0.75, 3: 0.70, 5: -9.0}
    shared = [1, 2, 3]
    theirs = stats.ttest_rel([second[seed] for seed in shared], [first[seed] for seed in shared]).confidence_interval(0.9)
    found = paired(first, second, confidence=0.9)
    assert found.mean == pytest.approx((theirs.low + theirs.high) / 2)
    assert found.half_width == pytest.approx((theirs.high - theirs.low) / 2, rel=2e-3)

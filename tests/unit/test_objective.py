"""A curve becomes one finite number by its closed form, or an error that says what was logged instead."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import MissingMetric, NonFiniteMetric
from harness.objective import Curve, better, matches_pattern, reduce
from harness.types import Direction, MetricPoint, Objective, Reduction

GSM8K = "val-core/openai/gsm8k/acc/mean@1"
MATH = "val-core/math/acc/mean@1"

finite = st.floats(min_value=-1e6, max_value=1e6)


def point(step: int, **values: float) -> MetricPoint:
    return MetricPoint(step=step, values=values)


def objective(reduction: Reduction = Reduction.LAST, direction: Direction = Direction.MAXIMIZE, window: int = 3) -> Objective:
    return Objective(metric="x", reduction=reduction, direction=direction, window=window)


@pytest.mark.parametrize(
    ("name", "pattern", "matches"),
    [
        (GSM8K, "val-core/*/acc/mean@1", True),  # `*` crosses the slash of openai/gsm8k
        (MATH, "val-core/*/acc/mean@1", True),
        (MATH, "val-core/?ath/acc/mean@1", True),
        (MATH, "val-core/*/acc/mean@2", False),
        (MATH, "VAL-CORE/*/acc/mean@1", False),
        ("a[b]", "a[b]", True),  # a name that reads as a pattern is still itself
        ("critic/score/mean", "critic/score", False),
    ],
)
def test_patterns_match_as_in_a_shell_but_across_slashes(name: str, pattern: str, matches: bool) -> None:
    assert matches_pattern(name, pattern) is matches


def test_several_data_sources_count_as_their_mean() -> None:
    curve = Curve(Objective(metric="val-core/*/acc/mean@1"))
    assert curve.add(MetricPoint(step=1, values={GSM8K: 0.5, MATH: 1.0, "critic/score/mean": 9.0})) == 0.75


def test_a_point_without_the_metric_adds_nothing() -> None:
    curve = Curve(objective())
    assert curve.add(point(1, y=1.0)) is None
    assert curve.values == {}


def test_a_later_line_of_a_step_replaces_the_earlier_value() -> None:
    curve = Curve(objective())
    curve.extend([point(1, x=0.1), point(2, x=0.2), point(1, x=0.9)])
    assert curve.values == {1: 0.9, 2: 0.2}
    assert curve.value() == 0.2


@pytest.mark.parametrize(
    ("asked", "value"),
    [
        (objective(Reduction.LAST), 3.0),
        (objective(Reduction.BEST), 5.0),
        (objective(Reduction.BEST, Direction.MINIMIZE), 1.0),
        (objective(Reduction.MEAN_LAST, window=2), 4.0),
        (objective(Reduction.MEAN_LAST, window=10), 3.0),
        (objective(Reduction.AREA), (1 * (1 + 5) / 2 + 3 * (5 + 3) / 2) / 4),  # trapezia of widths 1 and 3
    ],
)
def test_reductions_are_their_closed_forms(asked: Objective, value: float) -> None:
    curve = Curve(asked)
    curve.extend([point(1, x=1.0), point(2, x=5.0), point(5, x=3.0)])
    assert curve.value() == pytest.approx(value)


@given(slope=finite, start=finite, steps=st.lists(st.integers(0, 10_000), min_size=2, max_size=20, unique=True))
def test_the_area_under_a_straight_line_is_the_mean_of_its_ends(slope: float, start: float, steps: list[int]) -> None:
    line = [(step, start + slope * step) for step in sorted(steps)]
    expected = (line[0][1] + line[-1][1]) / 2
    assert reduce(line, objective(Reduction.AREA)) == pytest.approx(expected, rel=1e-6, abs=1e-3)


@given(value=finite, step=st.integers(0, 100), reduction=st.sampled_from(Reduction))
def test_every_reduction_of_a_single_value_is_that_value(value: float, step: int, reduction: Reduction) -> None:
    assert reduce([(step, value)], objective(reduction)) == value


@given(values=st.lists(finite, min_size=1, max_size=30), reduction=st.sampled_from(Reduction), window=st.integers(1, 40))
def test_every_reduction_lies_between_the_lowest_and_the_highest_value(values: list[float], reduction: Reduction, window: int) -> None:
    reduced = reduce(list(enumerate(values)), objective(reduction, window=window))
    slack = 1e-9 * max(map(abs, values))
    assert min(values) - slack <= reduced <= max(values) + slack


def test_a_missing_metric_names_those_that_were_seen() -> None:
    curve = Curve(Objective(metric="val-core/*"))
    curve.extend([point(1, b=1.0), point(2, a=1.0)])
    with pytest.raises(MissingMetric, match="no logged metric matches 'val-core/\\*'; seen: a, b") as caught:
        curve.value()
    assert (caught.value.pattern, caught.value.seen) == ("val-core/*", ("a", "b"))


def test_nothing_logged_at_all_is_said_in_words() -> None:
    with pytest.raises(MissingMetric, match="seen: none at all"):
        Curve(objective()).value()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_an_error_that_carries_its_step(value: float) -> None:
    with pytest.raises(NonFiniteMetric, match="at step 17: the training diverged") as caught:
        Curve(objective()).add(point(17, x=value))
    assert (caught.value.name, caught.value.step) == ("x", 17)


def test_another_metric_may_be_nan() -> None:
    assert Curve(objective()).add(point(1, x=1.0, y=math.nan)) == 1.0


def test_better_follows_the_direction() -> None:
    assert better(2.0, 1.0, Direction.MAXIMIZE)
    assert better(1.0, 2.0, Direction.MINIMIZE)
    assert not better(1.0, 1.0, Direction.MAXIMIZE)

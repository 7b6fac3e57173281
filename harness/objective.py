"""Metric points to the one number that Optuna is told; pure, and refuses what is not a finite number."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import pairwise

from harness.errors import MissingMetric, NonFiniteMetric
from harness.types import Direction, MetricPoint, Objective, Reduction

_NAMES = 1000  # of metrics, remembered for a message


@dataclass(slots=True)
class Curve:
    """The objective's values by step, collected point by point."""

    objective: Objective
    values: dict[int, float] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    def add(self, point: MetricPoint) -> float | None:
        """The objective's value in this point, or None where it is not in it. Raises NonFiniteMetric.

        Several names that match the pattern (one a data source, say) count as their mean; a later line of the same step replaces the value.
        """
        if len(self.seen) < _NAMES:
            self.seen.update(point.values)
        matches = {name: value for name, value in point.values.items() if matches_pattern(name, self.objective.metric)}
        if not matches:
            return None
        for name, value in matches.items():
            if not math.isfinite(value):
                raise NonFiniteMetric(name, step=point.step, value=value)
        self.values[point.step] = sum(matches.values()) / len(matches)
        return self.values[point.step]

    def extend(self, points: Iterable[MetricPoint]) -> None:
        for point in points:
            self.add(point)

    def value(self) -> float:
        """The reduced value. Raises MissingMetric where nothing matched."""
        if not self.values:
            raise MissingMetric(self.objective.metric, tuple(self.seen))
        return reduce(sorted(self.values.items()), self.objective)


@functools.lru_cache(maxsize=10_000)  # a line of metrics has a hundred names, and the next one has the same
def matches_pattern(name: str, pattern: str) -> bool:
    """`*` and `?` as in a shell, but they cross `/`, because verl's data sources may hold one."""
    return name == pattern or fnmatchcase(name, pattern)


def reduce(curve: Sequence[tuple[int, float]], objective: Objective) -> float:
    """One number of a non-empty curve of (step, value), ascending in step.

    AREA is the trapezoidal integral over the steps divided by their span, that is, the time-averaged value.
    """
    values = [value for _, value in curve]
    if objective.reduction is Reduction.LAST:
        return values[-1]
    if objective.reduction is Reduction.BEST:
        return max(values) if objective.direction is Direction.MAXIMIZE else min(values)
    if objective.reduction is Reduction.MEAN_LAST:
        window = values[-objective.window :]
        return sum(window) / len(window)
    span = curve[-1][0] - curve[0][0]
    if span == 0:
        return values[-1]
    return sum((s1 - s0) * (v0 + v1) / 2 for (s0, v0), (s1, v1) in pairwise(curve)) / span


def better(one: float, other: float, direction: Direction) -> bool:
    """Whether `one` beats `other`."""
    return one > other if direction is Direction.MAXIMIZE else one < other

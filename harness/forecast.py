"""The value that a training will end with, and an interval around it, from its curve so far and from whole curves of its study; pure.

A curve is expected to do what those did that stood near it at the same step: whether RL curves stay flat, rise or collapse depends on where
they are. No shape is assumed. docs/pruning.md has the coverage and the width that this was chosen by.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LEVEL = 2  # reports whose mean is where a curve stands
NEAR = 0.1  # of the spread of the study's values: how far those that stand near stand apart
SURPRISE = 0.25  # weight, in curves, of ending as high as anything that was seen, and of ending as low


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    """A training that ran to its end."""

    reports: Mapping[int, float]  # by step
    value: float  # that it ended with: what Optuna was told


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """In the objective's own unit."""

    value: float  # it is as likely to end above as below
    low: float
    high: float


def forecast(
    reports: Mapping[int, float], wholes: Sequence[Whole], *, coverage: float, near: float = NEAR, surprise: float = SURPRISE
) -> Forecast | None:
    """What a curve ends with, the interval holding it with probability `coverage`; None where nothing can be said: no whole curve reaches
    as far, or nothing was reported yet.

    The quantiles are those of (end - level) over the whole curves at the same step, each weighted by a Gaussian kernel of how far its level
    is from this one's. Beside them stand two imagined curves that end at the highest and the lowest value seen in any curve: they keep the
    interval as wide as the study's range until there is evidence, as a new point's place does in weighted conformal prediction (Tibshirani
    et al., arXiv 1904.06019).
    """
    if not reports:
        return None
    step = max(reports)
    here = level(reports, step)
    far = [whole for whole in wholes if max(whole.reports, default=-1) >= step]
    if not far:
        return None
    seen = [*(value for whole in far for value in (*whole.reports.values(), whole.value)), *reports.values()]
    width = near * _spread(seen)
    moves = [(min(seen) - here, surprise), (max(seen) - here, surprise)]
    for whole in far:
        there = level(whole.reports, step)
        moves.append((whole.value - there, _kernel(there - here, width)))
    moves.sort()
    low, middle, high = (here + _quantile(moves, share) for share in ((1 - coverage) / 2, 0.5, (1 + coverage) / 2))
    return Forecast(value=middle, low=low, high=high)


def level(reports: Mapping[int, float], step: int) -> float:
    """Where a curve stands at a step: the mean of its last reports up to it, or its first report where there is none."""
    steps = sorted(reports)
    place = max(1, bisect_right(steps, step))
    last = [reports[at] for at in steps[max(0, place - LEVEL) : place]]
    return sum(last) / len(last)


def _spread(values: Sequence[float]) -> float:
    """Between the lowest and the highest twentieth: a single outlier does not stretch it."""
    cuts = statistics.quantiles(values, n=20, method="inclusive")
    return cuts[-1] - cuts[0]


def _kernel(distance: float, width: float) -> float:
    if distance == 0:
        return 1.0
    return math.exp(-0.5 * (distance / width) ** 2) if width > 0 else 0.0


def _quantile(weighted: Sequence[tuple[float, float]], share: float) -> float:
    """Of (value, weight) in ascending order, each value in the middle of its weight; linear in between."""
    wanted = share * math.fsum(weight for _, weight in weighted)
    before_value, before_place = weighted[0][0], 0.0
    behind = 0.0
    for value, weight in weighted:
        place = behind + weight / 2
        if place >= wanted:
            return (
                value if place == before_place else before_value + (value - before_value) * (wanted - before_place) / (place - before_place)
            )
        before_value, before_place = value, place
        behind += weight
    return before_value

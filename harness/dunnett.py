"""The points beyond which the largest of several studentised differences seldom lies (Dunnett 1955, doi 10.2307/2281208); pure."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Mapping

_STEPS = 64  # of Simpson's rule in each of two directions: a point is right to a hundredth of itself
_STEPS_ALONE = 1024  # in one direction: to three digits
_REACH = 6.5  # standard deviations that an integral covers


@functools.lru_cache(maxsize=1000)
def one_sided_point(shares: tuple[float, ...], degrees: int, confidence: float) -> float:
    """What all differences of one mean to others stay below with that confidence, in their standard errors, where none truly differs.

    `shares`: that mean's part of each difference's variance; `degrees`: of freedom of the standard deviation. With a single difference it
    is Student's t.
    """
    alike = Counter(shares) if len(shares) > 1 else {0.0: 1}
    low, high = 0.0, 2.0
    while _below(high, alike, degrees) < confidence:
        low, high = high, 2 * high
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _below(middle, alike, degrees) < confidence else (low, middle)
    return (low + high) / 2


def _below(point: float, alike: Mapping[float, int], degrees: int) -> float:
    """The probability, over how far the estimated standard deviation is from the true one (chi over the root of its degrees)."""
    width = 1 / math.sqrt(2 * degrees)
    scale = math.lgamma(degrees / 2) + (degrees / 2 - 1) * math.log(2) - degrees / 2 * math.log(degrees)

    def weighed(ratio: float) -> float:
        power = (degrees - 1) * math.log(ratio) if degrees > 1 else 0.0
        return math.exp(power - degrees * ratio * ratio / 2 - scale) * _given(point * ratio, alike)

    steps = _STEPS_ALONE if set(alike) == {0.0} else _STEPS
    return _integral(weighed, max(1e-9, 1 - _REACH * width), 1 + _REACH * width, steps)


def _given(point: float, alike: Mapping[float, int]) -> float:
    """The same for a known standard deviation, over where the common mean may lie."""
    if set(alike) == {0.0}:
        return math.prod(_normal(point) ** count for count in alike.values())

    def weighed(at: float) -> float:
        density = math.exp(-at * at / 2) / math.sqrt(2 * math.pi)
        for share, count in alike.items():
            density *= _normal((point + math.sqrt(share) * at) / math.sqrt(1 - share)) ** count
        return density

    return _integral(weighed, -_REACH, _REACH, _STEPS)


def _normal(at: float) -> float:
    """The standard normal distribution function."""
    return math.erfc(-at / math.sqrt(2)) / 2


def _integral(of: Callable[[float], float], first: float, last: float, steps: int) -> float:
    """Simpson's rule."""
    step = (last - first) / steps
    odd = math.fsum(of(first + place * step) for place in range(1, steps, 2))
    even = math.fsum(of(first + place * step) for place in range(2, steps, 2))
    return step / 3 * (of(first) + of(last) + 4 * odd + 2 * even)

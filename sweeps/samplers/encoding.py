"""Points of a space as rows in the unit cube, for samplers that measure distances."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution


def encode(params: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> list[float]:
    """One number from 0 to 1 for each knob, several for a choice among names; a value that is not applicable (None) lies in the middle."""
    row: list[float] = []
    for name, distribution in space.items():
        row += _columns(params.get(name), distribution)
    return row


def value_at(share: float, distribution: BaseDistribution) -> Any:
    """The knob's value so far along its range, `share` from 0 up to 1."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[min(int(share * len(distribution.choices)), len(distribution.choices) - 1)]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = float(distribution.low), float(distribution.high)
    value = math.exp(math.log(low) + share * (math.log(high) - math.log(low))) if distribution.log else low + share * (high - low)
    if distribution.step is not None:
        value = low + round((value - low) / distribution.step) * distribution.step
    value = min(max(value, low), high)
    return int(value) if isinstance(distribution, IntDistribution) else value


def _columns(value: Any, distribution: BaseDistribution) -> list[float]:
    if isinstance(distribution, CategoricalDistribution):
        return _choice(value, distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if value is None:
        return [0.5]
    low, high, here = (float(number) for number in (distribution.low, distribution.high, value))
    if distribution.log:
        low, high, here = math.log(low), math.log(high), math.log(here)
    return [(here - low) / (high - low) if high > low else 0.5]


def _choice(value: Any, choices: Sequence[Any]) -> list[float]:
    """Numbers lie in their order, evenly; of names each is as far from every other."""
    ordered = sorted((choice for choice in choices if _is_number(choice)), key=float)
    if len(ordered) == len(choices) or len(choices) <= 2:
        places = ordered if len(ordered) == len(choices) else list(choices)
        return [places.index(value) / (len(places) - 1) if len(places) > 1 else 0.5]
    return [float(choice == value) for choice in choices]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

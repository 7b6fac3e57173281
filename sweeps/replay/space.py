"""The space that recorded configurations span, and the one of them that lies nearest to a point of it; pure."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution, json_to_distribution

from harness.types import Params
from sweeps.samplers.encoding import encode

COPY = "copy"  # the knob that tells configurations apart which agree in all others
_LOG_SPAN = 30  # from the smallest to the largest value: a knob that spans more is searched by its logarithm


@dataclass(frozen=True, slots=True)
class RecordedSpace:
    """`points`: each recorded configuration with a value for every knob that two of them differ in."""

    distributions: Mapping[str, BaseDistribution]
    points: tuple[Params, ...]
    unit_ck: Any  # the points in the unit cube, a choice among names having a column for each of them
    places: Mapping[tuple[Any, ...], int]  # a point's values, in the order of the knobs -> its index

    def index(self, point: Mapping[str, Any]) -> int:
        """Of the configuration that is this point."""
        return self.places[tuple(point[name] for name in self.distributions)]

    def nearest(self, point: Mapping[str, Any], among: Collection[int]) -> int:
        """Of these configurations the one nearest to a point."""
        candidates = sorted(among)
        place = np.array(encode(point, self.distributions))
        return candidates[int(((self.unit_ck[candidates] - place) ** 2).sum(axis=1).argmin())]


def span(configurations: Sequence[Params], known: Mapping[str, str]) -> RecordedSpace:
    """`known`: Optuna's JSON of the distributions that are. Where a knob does not apply to a configuration, it stands in the middle."""
    names = sorted({name for params in configurations for name in params})
    values = {name: [_plain(params.get(name)) for params in configurations] for name in names}
    distributions = {name: json_to_distribution(known[name]) if name in known else _spanned(column) for name, column in values.items()}
    varied = {name: kind for name, kind in distributions.items() if not kind.single() and len(set(values[name])) > 1}
    columns = {name: [_middle(kind) if value is None else value for value in values[name]] for name, kind in varied.items()}
    points: list[Params] = [{name: column[index] for name, column in columns.items()} for index in range(len(configurations))]
    if copies := _copies(points):
        varied[COPY] = CategoricalDistribution(sorted(set(copies)))
        points = [point | {COPY: copy} for point, copy in zip(points, copies, strict=True)]
    places = {tuple(point[name] for name in varied): index for index, point in enumerate(points)}
    return RecordedSpace(varied, tuple(points), np.array([encode(point, varied) for point in points]), places)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else json.dumps(value, sort_keys=True)


def _spanned(values: Sequence[Any]) -> BaseDistribution:
    given = [value for value in values if value is not None]
    numbers = [value for value in given if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)]
    if not given or len(numbers) < len(given):
        return CategoricalDistribution(sorted(set(given), key=repr) or [None])
    low, high = min(numbers), max(numbers)
    log = low > 0 and high / low > _LOG_SPAN
    whole = all(isinstance(value, int) for value in numbers)
    return IntDistribution(int(low), int(high), log=log) if whole else FloatDistribution(float(low), float(high), log=log)


def _middle(kind: BaseDistribution) -> Any:
    if isinstance(kind, CategoricalDistribution):
        return kind.choices[0]
    assert isinstance(kind, FloatDistribution | IntDistribution)
    middle = math.sqrt(kind.low * kind.high) if kind.log else (kind.low + kind.high) / 2
    return round(middle) if isinstance(kind, IntDistribution) else middle


def _copies(points: Sequence[Params]) -> list[int]:
    """How many before each point are the same; nothing where there is no such pair."""
    seen: Counter[str] = Counter()
    copies = []
    for point in points:
        key = json.dumps(point, sort_keys=True)
        copies.append(seen[key])
        seen[key] += 1
    return copies if any(copies) else []

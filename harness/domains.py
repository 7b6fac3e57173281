"""Where a knob's value lies in what was asked for it, read from Optuna's JSON of its distribution; pure, and without Optuna."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.wording import compact

_FAR = 3  # the span from lowest to highest, in factors of ten, beyond which values without a range count as logarithmic


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """Numbers from `low` to `high`."""

    low: float
    high: float
    log: bool
    whole: bool  # integers only

    def place(self, value: Any) -> float | None:
        """From 0 at the low end to 1 at the high one; None where it is no number, or no positive one on a logarithmic range."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or (self.log and value <= 0):
            return None
        low, high, at = (math.log(one) for one in (self.low, self.high, value)) if self.log else (self.low, self.high, float(value))
        return (at - low) / (high - low) if high > low else 0.5

    def holds(self, value: Any) -> bool:
        return not isinstance(value, bool) and isinstance(value, int | float) and self.low <= value <= self.high

    def around(self, value: float) -> Range:
        """As wide as this one, with the value in its middle."""
        if self.log:
            half = math.sqrt(self.high / self.low)
            low, high = value / half, value * half
        else:
            low, high = value - (self.high - self.low) / 2, value + (self.high - self.low) / 2
        if self.whole:
            low, high = math.floor(low), math.ceil(high)
        return Range(low=low, high=high, log=self.log, whole=self.whole)

    def asked(self) -> str:
        """As it is written on a command line."""
        low, high = (str(round(end)) if self.whole else f"{end:.2g}" for end in (self.low, self.high))
        kind = "int,log" if self.whole and self.log else "int" if self.whole else "log" if self.log else ""
        return f"tag({kind},interval({low},{high}))" if kind else f"interval({low},{high})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """Values one by one; numbers among them have an order."""

    values: tuple[Any, ...]

    @property
    def ordered(self) -> bool:
        return len(self.values) > 1 and all(isinstance(value, int | float) and not isinstance(value, bool) for value in self.values)

    def place(self, value: Any) -> float | None:
        """None where it is none of them."""
        found = next((index for index, one in enumerate(self.values) if one == value and type(one) is type(value)), None)
        return None if found is None else found / max(len(self.values) - 1, 1)

    def holds(self, value: Any) -> bool:
        return self.place(value) is not None

    def beyond(self, value: float) -> Choices:
        """Those near the value, and as many further ones on its other side: double or half, as the list itself goes."""
        step = self.values[-1] / self.values[-2] if value == self.values[-1] else self.values[0] / self.values[1]
        further = value * step
        whole = all(isinstance(one, int) for one in self.values)
        near = self.values[-2] if value == self.values[-1] else self.values[1]
        return Choices(values=tuple(sorted({near, value, max(round(further), 1) if whole else further})))

    def asked(self) -> str:
        return f"choice({','.join(compact(value) for value in self.values)})"


Domain = Range | Choices


def domains(space: Mapping[str, str], knobs: Sequence[str], points: Sequence[Mapping[str, Any]]) -> dict[str, Domain]:
    """Of each knob; of one whose record cannot be read, what its points span. A knob without any value is left out."""
    found = {knob: domain_of(space.get(knob, "")) or _spanned([point[knob] for point in points if knob in point]) for knob in knobs}
    return {knob: domain for knob, domain in found.items() if domain is not None}


def domain_of(text: str) -> Domain | None:
    """Of one distribution; None where its record cannot be read."""
    try:
        record = json.loads(text)
        attributes = record["attributes"]
        if "choices" in attributes:
            choices = tuple(attributes["choices"])
            ordered = Choices(values=choices).ordered and all(one > 0 for one in choices)
            return Choices(values=tuple(sorted(choices)) if ordered else choices)
        whole = record["name"] == "IntDistribution"
        return Range(low=float(attributes["low"]), high=float(attributes["high"]), log=bool(attributes.get("log")), whole=whole)
    except (ValueError, KeyError, TypeError):
        return None


def _spanned(values: Sequence[Any]) -> Domain | None:
    if not values:
        return None
    if all(isinstance(value, float) and math.isfinite(value) for value in values):
        low, high = min(values), max(values)
        return Range(low=low, high=high, log=low > 0 and high / low > _FAR, whole=False)
    kinds = {json.dumps(value, default=str): value for value in values}
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in kinds.values())
    return Choices(values=tuple(sorted(kinds.values())) if numbers else tuple(kinds.values()))

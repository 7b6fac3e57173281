"""How a knob's values lie along an axis: logarithmic where its range is, one place after the other where it has choices; pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from analysis.report.figures.figure import Layout, axis, number, text
from harness.domains import Choices, Domain
from harness.wording import compact


def position(domain: Domain, value: Any) -> float | None:
    """The place of a choice, the power of ten of a logarithmic value, else the value; None where it has none."""
    place = domain.place(value)
    if place is None:
        return None
    if isinstance(domain, Choices):
        return place * max(len(domain.values) - 1, 1)
    return number(math.log10(value) if domain.log else float(value))


def ticks(domain: Domain, values: Sequence[Any]) -> tuple[list[float], list[str]]:
    """Where numbers stand beside such an axis, and which."""
    if isinstance(domain, Choices):
        return [float(place) for place in range(len(domain.values))], [text(compact(value)) for value in domain.values]
    low, high = span(domain, values)
    if not domain.log:
        marks = [low + (high - low) * part / 4 for part in range(5)]
        return marks, [f"{mark:.3g}" for mark in marks]
    whole = [float(power) for power in range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)]
    marks = whole if len(whole) > 1 else [low, (low + high) / 2, high]
    return marks, [f"{10**mark:.2g}" for mark in marks]


def span(domain: Domain, values: Sequence[Any]) -> tuple[float, float]:
    """From end to end, in positions; wide enough for what lies outside, where the space was another one once."""
    known = [at for value in values if (at := position(domain, value)) is not None]
    if isinstance(domain, Choices):
        return 0.0, float(max(len(domain.values) - 1, 1))
    ends = [math.log10(domain.low), math.log10(domain.high)] if domain.log else [domain.low, domain.high]
    low, high = min([ends[0], *known]), max([ends[1], *known])
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def along(name: str, domain: Domain, values: Sequence[Any]) -> Layout:
    """An axis of plotly's with these ticks, and a little room at its ends."""
    (low, high), (marks, words) = span(domain, values), ticks(domain, values)
    room = 0.06 * (high - low)
    return axis(name, tickvals=marks, ticktext=words, range=[low - room, high + room], zeroline=False)

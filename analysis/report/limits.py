"""Beyond which values a knob makes no sense, so that nobody is sent there; pure."""

from __future__ import annotations

import math
from fnmatch import fnmatchcase

from harness.domains import Choices, Domain, Range

_SHARES = (
    "*lam",
    "*gamma",
    "*top_p",
    "*clip_low",
    "*clip_high",
    "*clip_ratio*",
    "*cliprange*",
    "*ratio",
    "*dropout",
    "*gpu_memory_utilization",
)
_GROUPS = ("rollout_n", "*rollout.n")  # answers of a prompt: an advantage over the others needs two
_LEAST_GROUP = 2


def limits(knob: str, domain: Domain) -> tuple[float, float]:
    """The lowest and the highest value, as far as its name and what was asked for tell: who asked for less knows better."""
    low, high = _ends(domain)
    least = _LEAST_GROUP if any(fnmatchcase(knob, name) for name in _GROUPS) and low >= _LEAST_GROUP else 0.0
    most = 1.0 if any(fnmatchcase(knob, name) for name in _SHARES) and high <= 1 else math.inf
    return (least if low >= 0 else -math.inf), most


def within(domain: Domain, low: float, high: float) -> Domain:
    if isinstance(domain, Range):
        return Range(low=max(domain.low, low), high=min(domain.high, high), log=domain.log, whole=domain.whole)
    return Choices(values=tuple(value for value in domain.values if low <= value <= high))


def _ends(domain: Domain) -> tuple[float, float]:
    """Of one with an order."""
    return (domain.low, domain.high) if isinstance(domain, Range) else (domain.values[0], domain.values[-1])

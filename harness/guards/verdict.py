"""What a guard is and what it says, with the evidence."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from typing import Protocol

from harness.types import GuardAction, GuardVerdict, MetricPoint


class Guard(Protocol):
    """Stands over one trial."""

    def add(self, point: MetricPoint) -> GuardVerdict | None:
        """The verdict, as often as a point gives reason for it."""
        ...


class Acting(Protocol):
    """The settings of any guard."""

    @property
    def action(self) -> GuardAction: ...


def verdict(
    code: str, metric: str, streak: Iterable[tuple[int, float]], threshold: float | None, against: str, guard: Acting
) -> GuardVerdict:
    """As in `kl_blow_up: actor/kl_loss 4.1 at steps 31 to 35, 12 times the median of 6 peers`: the value is the median of the streak."""
    steps = tuple(step for step, _ in streak)
    values = tuple(value if math.isfinite(value) else None for _, value in streak)
    finite = [value for value in values if value is not None]
    level = f" {statistics.median(finite):.3g}" if finite else ""
    return GuardVerdict(
        code=code,
        metric=metric,
        steps=steps,
        values=values,
        threshold=threshold,
        message=f"{code}: {metric}{level} at steps {steps[0]} to {steps[-1]}, {against}",
        action=guard.action,
    )

"""What a training's metrics say of an objective: its values by step, how far it came, how long it took."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import NonFiniteMetric
from harness.metrics import MetricReader
from harness.objective import Curve
from harness.types import MetricPoint, Objective

_SECONDS = ("timing_s/step", "timing_s/testing")


@dataclass(slots=True)
class Trace:
    """Collected from one file of verl's lines."""

    curve: Curve
    finite: bool = True
    steps: int = 0
    _seconds: dict[int, float] = field(default_factory=dict)  # by step

    @property
    def tells(self) -> bool:
        """Whether the objective is in it at all."""
        return bool(self.curve.values) or not self.finite

    @property
    def seconds(self) -> float:
        """Of its steps and validations."""
        return math.fsum(self._seconds.values())

    @property
    def value(self) -> float | None:
        """What Optuna would be told; None where the objective did not stay finite."""
        return self.curve.value() if self.finite and self.curve.values else None

    def take(self, point: MetricPoint) -> None:
        self.steps = max(self.steps, point.step)
        took = math.fsum(value for name in _SECONDS if math.isfinite(value := point.values.get(name, 0.0)) and value > 0)
        if took:
            self._seconds[point.step] = took
        if not self.finite:
            return
        try:
            self.curve.add(point)
        except NonFiniteMetric:
            self.finite = False


def trace_of(metrics: Path, objective: Objective) -> Trace:
    trace = Trace(Curve(objective))
    for point in MetricReader(metrics).new_points():
        trace.take(point)
    return trace

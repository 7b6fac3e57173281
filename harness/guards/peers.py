"""What a trial is compared with: its peers at the same step, and its own reward at the beginning; pure, and small in memory."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field
from statistics import fmean

from harness.types import MetricPoint

REWARD = "critic/rewards/mean"
_NEAR = 0.8  # a peer that has not come to a step yet stands for it with its last value, from this share of the step on
_KEPT = 0.5  # of the reward that was gained: with less, a trial is not learning any more


@dataclass(slots=True)
class Column:
    """One metric of one trial, ascending in steps: sixteen bytes a value."""

    steps: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))

    def add(self, step: int, value: float) -> None:
        if math.isfinite(value) and (not self.steps or step > self.steps[-1]):
            self.steps.append(step)
            self.values.append(value)

    def at(self, step: int) -> float | None:
        """The value at that step, or the last one shortly before it."""
        index = bisect_right(self.steps, step) - 1
        return self.values[index] if index >= 0 and self.steps[index] >= _NEAR * step else None


@dataclass(slots=True)
class Peers:
    """What the latest trials of a study logged of the metrics whose levels are watched."""

    metrics: frozenset[str]
    most: int  # trials
    _columns: dict[int, dict[str, Column]] = field(default_factory=dict)

    def column(self, trial: int, metric: str) -> Column:
        """To be filled; the lowest number is forgotten where there are too many."""
        if trial not in self._columns:
            self._columns[trial] = {name: Column() for name in self.metrics}
            while len(self._columns) > self.most + 1:  # a trial is none of its own peers
                del self._columns[min(self._columns)]
        return self._columns[trial][metric] if trial in self._columns else Column()

    def add(self, trial: int, point: MetricPoint) -> None:
        for name in self.metrics:
            value = point.values.get(name)
            if value is not None:
                self.column(trial, name).add(point.step, value)

    def at(self, step: int, metric: str, *, but: int) -> list[float]:
        """Of the others."""
        values = (columns[metric].at(step) for trial, columns in self._columns.items() if trial != but)
        return [value for value in values if value is not None]


@dataclass(slots=True)
class Learning:
    """Whether a trial keeps what it learned: its recent reward above its beginning, by at least half of what it once was."""

    window: int
    _first: list[float] = field(default_factory=list)
    _recent: deque[float] = field(init=False)
    _best: float = -math.inf
    _last: int = -1

    def __post_init__(self) -> None:
        self._recent = deque(maxlen=self.window)

    def add(self, point: MetricPoint) -> None:
        value = point.values.get(REWARD)
        if value is None or point.step <= self._last or not math.isfinite(value):
            return
        self._last = point.step
        if len(self._first) < self.window:
            self._first.append(value)
        self._recent.append(value)
        if len(self._recent) == self.window:
            self._best = max(self._best, fmean(self._recent))

    @property
    def holds(self) -> bool:
        if len(self._recent) < self.window:
            return False
        beginning, recent = fmean(self._first), fmean(self._recent)
        return recent > beginning and recent >= beginning + _KEPT * (self._best - beginning)

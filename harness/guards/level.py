"""The guard over one metric's level: bound and beginning are asked first, peers where both are passed, so that most values cost a look."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.guards.peers import Column, Learning, Peers
from harness.guards.verdict import verdict
from harness.types import GuardVerdict, LevelGuard, MetricPoint


@dataclass(slots=True)
class Level:
    """A `LevelGuard` at work."""

    guard: LevelGuard
    trial: int
    peers: Peers
    learning: Learning
    grace: int
    least_peers: int
    _column: Column = field(init=False)
    _first: list[float] = field(default_factory=list)
    _beginning: float = math.nan
    _limit: float = math.nan  # that of the bound and the beginning which is farther out
    _streak: deque[tuple[int, float]] = field(init=False)
    _last: int = -1
    _sign: float = field(init=False)  # 1 where a high value is bad, -1 where a low one is

    def __post_init__(self) -> None:
        self._column = self.peers.column(self.trial, self.guard.metric)
        self._streak = deque(maxlen=self.guard.patience)
        self._sign = 1.0 if self.guard.above is not None else -1.0

    def add(self, point: MetricPoint) -> GuardVerdict | None:
        value = point.values.get(self.guard.metric)
        if value is None or point.step <= self._last or not math.isfinite(value):
            return None
        self._last = point.step
        self._column.add(point.step, value)
        if len(self._first) < self.grace:
            self._first.append(value)
            self._beginning = statistics.median(self._first)
            self._limit = self._own_limit()
            return None
        if not self._is_beyond(value, self._limit):
            self._streak.clear()
            return None
        others = self._others(point.step)
        threshold = self._threshold(others)
        if not self._is_beyond(value, threshold):
            self._streak.clear()
            return None
        self._streak.append((point.step, value))
        if len(self._streak) < self.guard.patience or (self.guard.unless_learning and self.learning.holds):
            return None
        return self._verdict(threshold, others)

    def _own_limit(self) -> float:
        limits = [limit for limit in (self.guard.above, self.guard.below) if limit is not None]
        if self.guard.own_factor is not None:
            limits.append(self._times(self._beginning, self.guard.own_factor))
        return self._farthest(limits)

    def _threshold(self, others: Sequence[float]) -> float:
        if not others or self.guard.peer_factor is None:
            return self._limit
        return self._farthest([self._limit, self._times(statistics.median(others), self.guard.peer_factor)])

    def _others(self, step: int) -> list[float]:
        """Values of the peers; none where too few are known."""
        if self.guard.peer_factor is None:
            return []
        others = self.peers.at(step, self.guard.metric, but=self.trial)
        return others if len(others) >= self.least_peers else []

    def _is_beyond(self, value: float, threshold: float) -> bool:
        return self._sign * (value - threshold) > 0

    def _farthest(self, limits: Sequence[float]) -> float:
        return max(limits) if self._sign > 0 else min(limits)

    def _times(self, level: float, factor: float) -> float:
        return level * factor if self._sign > 0 else level / factor

    def _verdict(self, threshold: float, others: Sequence[float]) -> GuardVerdict:
        value = statistics.median(value for _, value in self._streak)
        return verdict(self.guard.code, self.guard.metric, self._streak, threshold, self._against(value, others), self.guard)

    def _against(self, value: float, others: Sequence[float]) -> str:
        if others and (median := statistics.median(others)) > 0:
            return f"{value / median:.3g} times the median of {len(others)} peers"
        if self.guard.own_factor is not None and self._beginning > 0:
            return f"{value / self._beginning:.3g} times what it began with"
        return f"above {self.guard.above:g}" if self.guard.above is not None else f"below {self.guard.below:g}"

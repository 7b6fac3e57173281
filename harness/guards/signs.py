"""The guards over what is no level: rewards that are all alike, a reward that parts from validation, numbers that are none."""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass, field
from statistics import fmean

from harness.guards.peers import REWARD
from harness.guards.verdict import verdict
from harness.objective import matches_pattern
from harness.types import GuardVerdict, MetricPoint, NonFiniteGuard, NoSignalGuard, RewardHackingGuard

SCORE, SCORE_MAX, SCORE_MIN = "critic/score/mean", "critic/score/max", "critic/score/min"
NO_SIGNAL, REWARD_HACKING, NON_FINITE = "no_signal", "reward_hacking", "non_finite"

_MEMORY = 20  # differences
_DEVIATIONS = 2.0  # that both have to move beyond their noise
_NAMES = 1000  # of metrics, remembered


@dataclass(slots=True)
class NoSignal:
    """A `NoSignalGuard` at work. Rewards that are all alike and better than the beginning's are a task that was learned whole."""

    guard: NoSignalGuard
    grace: int
    _first: list[float] = field(default_factory=list)
    _streak: deque[tuple[int, float]] = field(init=False)
    _last: int = -1

    def __post_init__(self) -> None:
        self._streak = deque(maxlen=self.guard.patience)

    def add(self, point: MetricPoint) -> GuardVerdict | None:
        high, low = point.values.get(SCORE_MAX), point.values.get(SCORE_MIN)
        if high is None or low is None or point.step <= self._last:
            return None
        self._last = point.step
        if len(self._first) < self.grace:
            self._first.append(point.values.get(SCORE, high))
            return None
        if high != low or high > fmean(self._first):
            self._streak.clear()
            return None
        self._streak.append((point.step, high))
        if len(self._streak) < self.guard.patience:
            return None
        return verdict(NO_SIGNAL, SCORE_MAX, self._streak, None, f"equal to {SCORE_MIN}: nothing to learn from", self.guard)


@dataclass(slots=True)
class Noise:
    """How far a series moves from value to value: the standard deviation of its noise by the median of absolute differences."""

    _before: float | None = None
    _differences: deque[float] = field(default_factory=lambda: deque(maxlen=_MEMORY))

    def add(self, value: float) -> None:
        if self._before is not None:
            self._differences.append(abs(value - self._before))
        self._before = value

    @property
    def deviation(self) -> float:
        """Of a normal distribution: the median is 0.6745 deviations of a difference, which are the square root of 2 of a value's."""
        return statistics.median(self._differences) / (0.6745 * math.sqrt(2)) if self._differences else 0.0


@dataclass(slots=True)
class RewardHacking:
    """A `RewardHackingGuard` at work: compares validations, and the rewards before them, with the best mean of two validations in a row."""

    guard: RewardHackingGuard
    _sum: float = 0.0  # of the rewards since the last validation
    _count: int = 0
    _before: tuple[float, float] | None = None  # validation, and mean reward before it
    _best: tuple[float, float] | None = None
    _noises: tuple[Noise, Noise] = field(default_factory=lambda: (Noise(), Noise()))  # of the two
    _streak: deque[tuple[int, float]] = field(init=False)
    _last: int = -1
    _seen: set[str] = field(default_factory=set)  # names of metrics
    _names: list[str] = field(default_factory=list)  # those of validation

    def __post_init__(self) -> None:
        self._streak = deque(maxlen=self.guard.patience)

    def add(self, point: MetricPoint) -> GuardVerdict | None:
        if point.step < self._last:
            return None
        reward = point.values.get(REWARD)
        if reward is not None and math.isfinite(reward):
            self._sum, self._count = self._sum + reward, self._count + 1
        value = self._validation(point)
        if value is None or point.step == self._last or not self._count:
            return None
        self._last = point.step
        mean_reward, self._sum, self._count = self._sum / self._count, 0.0, 0
        return self._judge(point.step, value, mean_reward)

    def _validation(self, point: MetricPoint) -> float | None:
        if len(self._seen) < _NAMES and (new := point.values.keys() - self._seen):  # a hundred names a line, and the next line has the same
            self._names += sorted(name for name in new if matches_pattern(name, self.guard.validation))
            self._seen |= new
        values = [value for name in self._names if (value := point.values.get(name)) is not None and math.isfinite(value)]
        return fmean(values) if values else None

    def _judge(self, step: int, value: float, reward: float) -> GuardVerdict | None:
        self._noises[0].add(value)
        self._noises[1].add(reward)
        before, self._before = self._before, (value, reward)
        if before is not None:
            pair = ((before[0] + value) / 2, (before[1] + reward) / 2)
            self._best = pair if self._best is None or pair[0] > self._best[0] else self._best
        if self._best is None or value >= self._fallen(self._best[0]) or reward <= self._risen(self._best[1]):
            self._streak.clear()
            return None
        self._streak.append((step, value))
        if len(self._streak) < self.guard.patience:
            return None
        against = f"down from {self._best[0]:.3g}, while {REWARD} rose from {self._best[1]:.3g} to {reward:.3g}"
        return verdict(REWARD_HACKING, self.guard.validation, self._streak, self._fallen(self._best[0]), against, self.guard)

    def _fallen(self, best: float) -> float:
        return best - max(self.guard.fall * abs(best), _DEVIATIONS * self._noises[0].deviation)

    def _risen(self, then: float) -> float:
        return then + max(self.guard.rise * abs(then), _DEVIATIONS * self._noises[1].deviation)


@dataclass(slots=True)
class NonFinite:
    """A `NonFiniteGuard` at work. A sum of finite numbers is finite: one addition a value, and no look at each."""

    guard: NonFiniteGuard
    _streaks: dict[str, deque[tuple[int, float]]] = field(default_factory=dict)  # by metric
    _last: int = -1

    def add(self, point: MetricPoint) -> GuardVerdict | None:
        if point.step < self._last or (not self._streaks and math.isfinite(sum(point.values.values()))):
            return None
        self._last = point.step
        for name in [name for name in self._streaks if math.isfinite(point.values.get(name, math.nan))]:
            del self._streaks[name]
        for name in (name for name, value in point.values.items() if not math.isfinite(value) and _is_of_training(name)):
            streak = self._streaks.setdefault(name, deque(maxlen=self.guard.patience))
            if not streak or streak[-1][0] < point.step:
                streak.append((point.step, math.nan))
            if len(streak) == self.guard.patience:
                return verdict(NON_FINITE, name, streak, None, "NaN or infinite", self.guard)
        return None


def _is_of_training(name: str) -> bool:
    return name.startswith(("actor/", "critic/")) or "loss" in name

"""Asynchronous successive halving among all trials of a study, the running ones too; knows nothing but what the storage tells.

Li et al., arXiv 1810.05934, in the form that stops the weak instead of promoting the strong, with these rules:

- Rung k lies at `min_resource * reduction_factor**k` steps, tokens or GPU-seconds. A trial's value there is that of its first report at or
  after it, so that trials which validate at the same steps, however rarely, are compared at the same step; counted in tokens or
  GPU-seconds, a trial that trains on longer answers is compared earlier in its training.
- At each report a trial is judged at the highest rung that it has reached: it goes on while it is among the best `1 / reduction_factor`
  of all that reached that rung, however they ended. It is judged again at its next report: whoever came first and alone is held to those
  that came after. Lower rungs are done with, so that a late riser is not stopped for how it began; of rungs that one report passes
  together the highest counts.
- The trial that is ahead of all that run or are complete is never stopped: there is nobody to take its place.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import optuna
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from harness.expense import Resource
from sweeps.pruners.spending import noted

_STANDING = (OptunaState.RUNNING, OptunaState.COMPLETE)


class Smoothing(StrEnum):
    """How a trial's last reports become its value at a rung."""

    MEDIAN = "median"
    MEAN = "mean"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ladder:
    """Where the rungs are, and how a trial is seen there."""

    min_resource: int  # before the first rung
    reduction_factor: int  # of the resource from rung to rung, and of trials
    n_min_trials: int  # that must have reached a rung before any is stopped there
    window: int  # reports that make a value
    smoothing: Smoothing
    resource: Resource = Resource.STEPS

    def __post_init__(self) -> None:
        for name, least in (("min_resource", 1), ("reduction_factor", 2), ("n_min_trials", 1), ("window", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name}: expected a whole number of at least {least}, got {value!r}")


@dataclass(frozen=True, slots=True)
class Climber:
    """What a trial has shown."""

    number: int
    stands: bool  # it runs, or ran to its end
    scores: tuple[float, ...]  # at each rung that it reached, larger is better; NaN: nothing but NaN was reported


def climb(reports: Mapping[int, float], ladder: Ladder, *, maximize: bool, spent: Mapping[int, float] | None = None) -> tuple[float, ...]:
    """A trial's score at each rung that it has reached, of its reports by step; step 0 is the untrained model and counts for nothing.

    `spent`: how much of the ladder's resource it had used up by a step; None: that resource is steps. NaN among the reports of a window is
    left out: one bad step dooms nobody.
    """
    steps = sorted(step for step in reports if step > 0 and (spent is None or step in spent))
    amounts = [step if spent is None else spent[step] for step in steps]
    scores: list[float] = []
    rung = ladder.min_resource
    while amounts and amounts[-1] >= rung:
        place = bisect_left(amounts, rung)
        seen = [reports[step] for step in steps[max(0, place + 1 - ladder.window) : place + 1]]
        scores.append(_smooth(seen, ladder.smoothing) * (1 if maximize else -1))
        rung *= ladder.reduction_factor
    return tuple(scores)


def decide(trial: Climber, peers: Iterable[Climber], ladder: Ladder) -> bool:
    """Whether a trial is to be stopped, of what it and the others have shown."""
    if not trial.scores:
        return False
    rung, score = len(trial.scores) - 1, trial.scores[-1]
    if math.isnan(score):
        return True
    rivals = [peer for peer in peers if len(peer.scores) > rung and not math.isnan(peer.scores[rung])]
    if len(rivals) + 1 < ladder.n_min_trials:
        return False
    places = max(1, (len(rivals) + 1) // ladder.reduction_factor)
    if sum(peer.scores[rung] > score for peer in rivals) < places:
        return False
    return any(peer.stands and _rank(peer) > _rank(trial) for peer in rivals)


def _rank(climber: Climber) -> tuple[int, float, int]:
    """Who is ahead: on a higher rung, or better on the same one, or first."""
    last = climber.scores[-1]
    return (len(climber.scores), -math.inf if math.isnan(last) else last, -climber.number)


def _smooth(values: Iterable[float], smoothing: Smoothing) -> float:
    finite = [value for value in values if not math.isnan(value)]
    if not finite:
        return math.nan
    return statistics.median(finite) if smoothing is Smoothing.MEDIAN else math.fsum(finite) / len(finite)


@dataclass(slots=True)
class Memory:
    """The scores of trials that have ended, which change no more: nothing in it that the storage does not tell again."""

    ladder: Ladder
    _ended: dict[tuple[str, int], Climber] = field(default_factory=dict)

    def climber(self, study: optuna.Study, trial: FrozenTrial) -> Climber:
        known = self._ended.get((study.study_name, trial.number))
        if known is not None:
            return known
        maximize = study.direction == StudyDirection.MAXIMIZE
        spent = None if self.ladder.resource is Resource.STEPS else noted(trial)
        scores = climb(trial.intermediate_values, self.ladder, maximize=maximize, spent=spent)
        climber = Climber(trial.number, trial.state in _STANDING, scores)
        if trial.state.is_finished():
            self._ended[study.study_name, trial.number] = climber
        return climber


class AshaPruner(BasePruner):
    """One ladder for all trials. In a study that runs one trial at a time, with `window=1` and `n_min_trials=1`, it decides as
    optuna.pruners.SuccessiveHalvingPruner does, but that it keeps a trial where those ahead of it have failed or reported NaN,
    and judges it once where a report passes several rungs.

    `min_resource` and the rungs are in units of `resource`. Raises ValueError for numbers that make no ladder.
    """

    def __init__(
        self,
        *,
        min_resource: int,
        reduction_factor: int,
        n_min_trials: int = 1,
        window: int = 1,
        smoothing: str = Smoothing.MEDIAN,
        resource: str = Resource.STEPS,
    ) -> None:
        self._memory = Memory(
            Ladder(
                min_resource=min_resource,
                reduction_factor=reduction_factor,
                n_min_trials=n_min_trials,
                window=window,
                smoothing=Smoothing(smoothing),
                resource=Resource(resource),
            )
        )

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return self.judge(study, trial, study.get_trials(deepcopy=False))

    def judge(self, study: optuna.Study, trial: FrozenTrial, trials: Iterable[FrozenTrial]) -> bool:
        """Among these trials of a study."""
        judged = self._memory.climber(study, trial)
        if not judged.scores:
            return False
        peers = (self._memory.climber(study, other) for other in trials if other.number != trial.number)
        return decide(judged, peers, self._memory.ladder)

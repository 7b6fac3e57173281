"""What a study found: a configuration with the mean over its seeds, and those that cannot be told from it; pure.

docs/result.md says the rules, and what they were chosen by. A configuration is known by its COMPLETE trials, each seed once: a point
that was proposed twice with the same seed has been seen once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness import comparison
from harness.comparison import mean
from harness.trial_status import TrialStatus
from harness.types import Direction, Objective, Role, TrialState

CONFIDENCE = 0.9  # of intervals, and that the truly best contender is among those that are named


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What is known of a configuration, in the objective's own unit."""

    configuration: str
    trials: tuple[int, ...]  # the complete ones, ascending
    seeds: tuple[int, ...]  # that `mean` is over
    mean: float
    half_width: float | None  # of the interval around it; None where no configuration has two seeds
    overall: float  # mean over all seeds, those for tuning included
    confirmed: bool  # `mean` is over seeds that had no part in choosing the configuration
    contends: bool  # has seeds enough to be called the best


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """A study's answer."""

    best: Estimate
    others: tuple[Estimate, ...]  # contenders first, each part the best first
    ties: tuple[str, ...]  # contenders that may be better than the best, by configuration
    replicated: bool  # some configuration has more than one seed

    @property
    def estimates(self) -> tuple[Estimate, ...]:
        return (self.best, *self.others)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    """A configuration's trials, and its value by seed: of all, and of those that its mean is over."""

    configuration: str
    trials: tuple[TrialStatus, ...]
    values: dict[int, float]
    counted: dict[int, float]
    confirmed: bool

    @property
    def overall(self) -> float:
        return mean(list(self.values.values()))


def is_candidate(trial: TrialStatus) -> bool:
    """Whether it ended with finite values."""
    return trial.state is TrialState.COMPLETE and bool(trial.values) and all(math.isfinite(value) for value in trial.values or ())


def best_trial(trials: Iterable[TrialStatus], objective: Objective) -> TrialStatus | None:
    """Of the best configuration the trial with the best value, the first of equal ones; None where no trial is complete."""
    candidates = [trial for trial in trials if is_candidate(trial)]
    if len({trial.configuration for trial in candidates}) < len(candidates):  # seldom, and this is asked at each look
        contenders, _ = _ranked(candidates, objective)
        candidates = list(contenders[0].trials)
    sign = _sign(objective)
    return max(candidates, key=lambda trial: (sign * _value(trial), -trial.number), default=None)


def result_of(trials: Iterable[TrialStatus], objectives: Sequence[Objective]) -> Result | None:
    """None where no trial is complete, and with several objectives, of which no configuration is the best."""
    if len(objectives) > 1:
        return None
    contenders, rest = _ranked(trials, objectives[0])
    if not contenders:
        return None
    seen = [*contenders, *rest]
    spreads = comparison.spreads([list(one.counted.values()) for one in seen])
    estimates = [_estimate(one, spread, place < len(contenders)) for place, (one, spread) in enumerate(zip(seen, spreads, strict=True))]
    return Result(
        best=estimates[0],
        others=tuple(estimates[1:]),
        ties=_ties(contenders, _sign(objectives[0])),
        replicated=any(len(one.values) > 1 for one in seen),
    )


def values_of(trials: Mapping[int, TrialStatus], one: Estimate) -> dict[int, float]:
    """By seed what an estimate's mean is over; `trials` by number."""
    return _by_seed(trials[number] for number in one.trials if (trials[number].seed or 0) in one.seeds)


def _ranked(trials: Iterable[TrialStatus], objective: Objective) -> tuple[list[_Seen], list[_Seen]]:
    """Those with more than half as many seeds as the one with most, by their mean; and the rest, by seeds and mean.

    So a lucky seed never beats a mean, and one that a fault has cost a seed still counts. Where some were confirmed, only they contend.
    """
    groups: dict[str, list[TrialStatus]] = {}
    for trial in trials:
        if is_candidate(trial):
            groups.setdefault(trial.configuration or f"trial {trial.number}", []).append(trial)
    seen = [_seen(configuration, group) for configuration, group in groups.items()]
    sign, confirmed = _sign(objective), any(one.confirmed for one in seen)
    most = max((len(one.counted) for one in seen if one.confirmed == confirmed), default=0)
    contenders: list[_Seen] = []
    rest: list[_Seen] = []
    for one in seen:
        (contenders if one.confirmed == confirmed and 2 * len(one.counted) > most else rest).append(one)
    contenders.sort(key=lambda one: -sign * one.overall)
    rest.sort(key=lambda one: (-len(one.values), -sign * one.overall))
    return contenders, rest


def _seen(configuration: str, trials: Sequence[TrialStatus]) -> _Seen:
    fresh = [trial for trial in trials if trial.role is Role.CONFIRMATION]
    return _Seen(
        configuration=configuration,
        trials=tuple(trials),
        values=_by_seed(trials),
        counted=_by_seed(fresh or trials),
        confirmed=bool(fresh),
    )


def _by_seed(trials: Iterable[TrialStatus]) -> dict[int, float]:
    values: dict[int, list[float]] = {}
    for trial in trials:
        values.setdefault(trial.seed or 0, []).append(_value(trial))
    return {seed: mean(of_seed) for seed, of_seed in values.items()}


def _estimate(one: _Seen, spread: comparison.Spread | None, contends: bool) -> Estimate:
    return Estimate(
        configuration=one.configuration,
        trials=tuple(sorted(trial.number for trial in one.trials)),
        seeds=tuple(sorted(one.counted)),
        mean=mean(list(one.counted.values())),
        half_width=None if spread is None else comparison.half_width(spread, len(one.counted), confidence=CONFIDENCE),
        overall=one.overall,
        confirmed=one.confirmed,
        contends=contends,
    )


def _ties(contenders: Sequence[_Seen], sign: int) -> tuple[str, ...]:
    """Nothing can be said where nobody has two seeds."""
    if all(len(one.counted) < 2 for one in contenders):
        return ()
    samples = [{seed: sign * value for seed, value in one.counted.items()} for one in contenders]
    return tuple(contenders[place].configuration for place in comparison.not_worse(samples, confidence=CONFIDENCE) if place)


def _value(trial: TrialStatus) -> float:
    return (trial.values or (math.nan,))[0]


def _sign(objective: Objective) -> int:
    return 1 if objective.direction is Direction.MAXIMIZE else -1

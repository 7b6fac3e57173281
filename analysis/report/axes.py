"""What a training's progress can be counted in, and who is ahead where all have used up as much; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from analysis.report.facts import Configuration, Facts
from analysis.report.series import Curve
from harness.comparison import mean
from harness.trial_status import TrialStatus
from harness.types import Slot


class Axis(StrEnum):
    """The unit is in the name."""

    STEP = "training step"
    PROMPTS = "prompts"
    TOKENS = "tokens, prompts and responses"
    MINUTES = "minutes of training"
    GPU_HOURS = "GPU-hours of training"


@dataclass(frozen=True, kw_only=True, slots=True)
class Lead:
    """Who is ahead where every complete trial has used up the same amount."""

    axis: Axis
    amount: float  # the least that any of them used up in all
    ahead: Configuration
    value: float
    best_value: float  # of the study's best configuration there


def curve(facts: Facts, one: Configuration, trial: TrialStatus, axis: Axis, points: Sequence[tuple[float, float]]) -> Curve:
    """The points of a trial along another axis than steps; empty where the trial does not tell."""
    if axis is Axis.STEP:
        return tuple(points)
    scale = _scale(facts, one, trial, axis)
    if axis is Axis.PROMPTS:
        return tuple((step * scale, value) for step, value in points) if scale else ()
    series = facts.series.get(trial.number)
    used: Mapping[int, float] = {} if series is None else series.tokens if axis is Axis.TOKENS else series.seconds
    if not used or not scale or series is None:
        return ()
    return tuple((amount * scale, value) for step, value in points if (amount := series.amount(used, int(step))) is not None)


def leads(facts: Facts) -> tuple[Lead, ...]:
    """Of the axes on which another configuration than the study's best one is ahead, at the same amount for all."""
    best = facts.best
    complete = [one for one in facts.configurations if one.values and any(trial.curve for trial in one.trials)]
    if best is None or len(complete) < 2:
        return ()
    most = 1 + max(len(one.values) for one in complete) // 2  # as many seeds as a contender has, or a lucky one would lead
    rivals = [one for one in complete if len(one.values) >= most or one is best]
    return tuple(lead for axis in Axis if axis is not Axis.STEP and (lead := _lead(facts, axis, best, rivals)) is not None)


def _lead(facts: Facts, axis: Axis, best: Configuration, rivals: Sequence[Configuration]) -> Lead | None:
    curves = {
        one.name: [found for trial in one.trials if trial.values and (found := curve(facts, one, trial, axis, trial.curve))]
        for one in rivals
    }
    known = [one for one in rivals if curves[one.name]]
    if best not in known or len(known) < 2:
        return None
    amount = min(points[-1][0] for one in known for points in curves[one.name])
    values = {one.name: mean([_at(points, amount) for points in curves[one.name]]) for one in known}
    if any(not math.isfinite(value) for value in values.values()):
        return None
    ahead = max(known, key=lambda one: facts.sign * values[one.name])
    if values[ahead.name] == values[best.name]:
        return None
    return Lead(axis=axis, amount=amount, ahead=ahead, value=values[ahead.name], best_value=values[best.name])


def _at(points: Curve, amount: float) -> float:
    """The last value up to it, or the first one."""
    return next((value for at, value in reversed(points) if at <= amount * (1 + 1e-9)), points[0][1])


def _scale(facts: Facts, one: Configuration, trial: TrialStatus, axis: Axis) -> float:
    """0 where the axis means nothing for it."""
    if axis is Axis.PROMPTS:
        return float(facts.batch_of(one) or 0)
    if axis is Axis.MINUTES:
        return 1 / 60
    if axis is Axis.GPU_HOURS:
        return Slot.named(trial.slot).gpu_count / 3600 if trial.slot else 0.0
    return 1.0

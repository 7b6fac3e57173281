"""What a study cost, what stopping trials early saved, and what it may have missed; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.report.facts import Configuration, Facts
from analysis.report.spans import idle_share
from harness.trial_status import TrialStatus
from harness.types import Reason, TrialState


@dataclass(frozen=True, kw_only=True, slots=True)
class StateCost:
    """Of all trials that stand, or ended, alike."""

    state: TrialState
    trials: int
    hours: float  # in `Bill.unit`
    startup_hours: float  # part of these


@dataclass(frozen=True, kw_only=True, slots=True)
class Risk:
    """A stopped configuration that may have become as good as the best: its forecast's interval reaches there."""

    configuration: Configuration
    expected: float
    optimistic: float  # the better end of the interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Bill:
    """In GPU-hours where trials had GPUs, else in hours of slots."""

    unit: str
    by_state: tuple[StateCost, ...]
    energy_kwh: float | None
    idle: float | None  # share of the slots' time
    stopped: int  # trials that pruner, plan or guards ended early
    saved_hours: float  # what these would have taken up to their last step
    risks: tuple[Risk, ...]  # the most promising first
    judged: int  # stopped configurations with a forecast
    asked: int  # n_trials
    spent: float  # of `asked`: trials, or full runs
    counts_full_runs: bool
    cut: str  # why the study was ended before its last trial; empty where it was not

    @property
    def hours(self) -> float:
        return sum(one.hours for one in self.by_state)

    @property
    def startup_share(self) -> float:
        return sum(one.startup_hours for one in self.by_state) / self.hours if self.hours else 0.0


def bill(facts: Facts) -> Bill:
    status, gpus = facts.status, any(trial.gpu_seconds for trial in facts.status.trials)
    stopped = [trial for trial in status.trials if trial.state is TrialState.PRUNED and trial.reason is not Reason.REFUSED]
    energy = [trial.gpu.energy_kj for trial in status.trials if trial.gpu and trial.gpu.energy_kj is not None]
    judged = [one for one in facts.configurations if one.forecast and all(trial.state is TrialState.PRUNED for trial in one.trials)]
    return Bill(
        unit="GPU-hours" if gpus else "slot-hours",
        by_state=_by_state(status.trials, gpus),
        energy_kwh=sum(energy) / 3600 if energy else None,
        idle=idle_share(facts.spans, len(status.record.slots))
        if len(facts.spans) >= sum(trial.attempts for trial in status.trials)
        else None,
        stopped=len(stopped),
        saved_hours=sum(_saved_s(trial) * _per_second(trial, gpus) for trial in stopped) / 3600,
        risks=_risks(facts, judged),
        judged=len(judged),
        asked=status.record.n_trials,
        spent=status.told if status.full_runs is None else status.full_runs,
        counts_full_runs=status.full_runs is not None,
        cut=status.record.stopped,
    )


def hours(trials: Sequence[TrialStatus], unit: str) -> float:
    """Of some trials, in the bill's unit."""
    return sum((trial.gpu_seconds if unit == "GPU-hours" else trial.seconds or 0.0) for trial in trials) / 3600


def _by_state(trials: Sequence[TrialStatus], gpus: bool) -> tuple[StateCost, ...]:
    found = []
    for state in TrialState:
        alike = [trial for trial in trials if trial.state is state]
        if alike:
            spent = sum(trial.gpu_seconds if gpus else trial.seconds or 0.0 for trial in alike)
            starting = sum(min(trial.startup_s or 0.0, trial.seconds or 0.0) * _per_second(trial, gpus) for trial in alike)
            found.append(StateCost(state=state, trials=len(alike), hours=spent / 3600, startup_hours=starting / 3600))
    return tuple(found)


def _per_second(trial: TrialStatus, gpus: bool) -> float:
    """GPU-seconds of a second of that trial; 1 without GPUs."""
    if not gpus:
        return 1.0
    return trial.gpu_seconds / trial.seconds if trial.seconds else 0.0


def _saved_s(trial: TrialStatus) -> float:
    """At its own mean pace so far; nothing where it had not trained."""
    if not trial.total_steps or not trial.steps or not trial.seconds:
        return 0.0
    trained = max(trial.seconds - (trial.startup_s or 0.0), 0.0)
    return max(trial.total_steps - trial.steps, 0) * trained / trial.steps


def _risks(facts: Facts, judged: Sequence[Configuration]) -> tuple[Risk, ...]:
    best = facts.best
    if best is None or best.level is None:
        return ()
    found = []
    for one in judged:
        if one.forecast is None:
            continue
        optimistic = one.forecast.high if facts.sign > 0 else one.forecast.low
        if facts.sign * optimistic >= facts.sign * best.level:
            found.append(Risk(configuration=one, expected=one.forecast.value, optimistic=optimistic))
    return tuple(sorted(found, key=lambda risk: -facts.sign * risk.expected))

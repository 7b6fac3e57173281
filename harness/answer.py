"""A study's result in words, and in the cells of a ranked table; pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness import against
from harness.digest import numbers
from harness.result import CONFIDENCE, Estimate, Result
from harness.status import StudyStatus
from harness.trial_status import TrialStatus
from harness.types import Direction, TrialState
from harness.wording import aligned, interval, share

ONE_SEED = "One seed each: treat close values as ties."


def estimate(one: Estimate) -> str:
    """`0.892 ± 0.012`"""
    return interval(one.mean, one.half_width)


def evidence(status: StudyStatus, result: Result | None) -> list[str]:
    """A sentence each: what the best configuration's mean rests on, which others may be better, who was not compared; and the default."""
    if result is None:
        complete = [trial.configuration for trial in status.trials if trial.state is TrialState.COMPLETE]
        return [ONE_SEED] if complete and len(set(complete)) == len(complete) else []
    lines = [*_basis(result.best), *_comparison(result)] if result.replicated else [ONE_SEED]
    default = against.sentence(status, result)
    return [*lines, default] if default else lines


def _basis(best: Estimate) -> list[str]:
    seeds = f"{len(best.seeds)} seeds" if len(best.seeds) > 1 else "one seed"
    listed = f"{seeds} ({', '.join(map(str, best.seeds))})"
    interval = f", with its {share(CONFIDENCE)} interval" if best.half_width is not None else ""
    if best.confirmed:
        lines = [f"Mean of {listed} that had no part in choosing it{interval}."]
    else:
        lines = [f"Mean of {listed}{interval}. They also chose it: expect a little worse."]
    if len(best.seeds) == 1 and interval:
        lines.append("One seed tells no spread: the interval is as wide as the seeds of the others say.")
    return lines


def _comparison(result: Result) -> list[str]:
    rivals = [one for one in result.others if one.contends]
    left_out = len(result.others) - len(rivals)
    lines = []
    if result.ties:
        tied = sorted(one.trials[0] for one in rivals if one.configuration in result.ties)
        these = f"the configuration{'s' * (len(tied) > 1)} of {_trials(tied)}"
        lines.append(f"With {share(CONFIDENCE)} confidence it cannot be told from {these}.")
    elif rivals and len(result.best.seeds) > 1:
        lines.append(f"With {share(CONFIDENCE)} confidence it is better than the {len(rivals)} others that have seeds enough.")
    elif rivals:
        lines.append(ONE_SEED)
    if left_out:
        lines.append(f"{left_out} configuration{'s have' if left_out > 1 else ' has'} too few seeds to be compared with it.")
    return lines


def _trials(ascending: list[int]) -> str:
    return f"trial{'s' * (len(ascending) > 1)} {numbers(ascending)}"


def ranked(status: StudyStatus, result: Result | None) -> list[TrialStatus]:
    """All trials, those of the best configuration first; those that are not complete behind, by state and by how far they came."""
    order = (TrialState.COMPLETE, TrialState.RUNNING, TrialState.PRUNED, TrialState.FAIL, TrialState.WAITING)
    sign = -1 if status.record.objectives[0].direction is Direction.MAXIMIZE else 1
    front, places = set(status.pareto), _places(result)

    def place(trial: TrialStatus) -> tuple[int, bool, int, float, int, int]:
        value = trial.values[0] if trial.values else math.nan
        loss = sign * value if math.isfinite(value) else math.inf
        return order.index(trial.state), trial.number not in front, places.get(trial.number, 0), loss, -trial.steps, trial.number

    return sorted(status.trials, key=place)


def rank_cells(trials: Sequence[TrialStatus], result: Result | None) -> list[str]:
    """Of ranked trials: each configuration's place at its first trial; without replicates that of each trial."""
    if result is None or not result.replicated:
        return [str(place) if trial.state is TrialState.COMPLETE else "" for place, trial in enumerate(trials, start=1)]
    places = [_places(result).get(trial.number) for trial in trials]
    return ["" if place is None or place in places[:row] else str(place) for row, place in enumerate(places)]


def mean_cells(trials: Sequence[TrialStatus], result: Result) -> list[str]:
    """Of ranked trials: each configuration's mean and half its interval at its first trial; empty where it has one trial."""
    places = [_places(result).get(trial.number) for trial in trials]
    first = [None if place is None or place in places[:row] else result.estimates[place - 1] for row, place in enumerate(places)]
    shown = [one if one is not None and len(one.trials) > 1 else None for one in first]
    means = aligned([one.mean if one else None for one in shown])
    halves = aligned([one.half_width if one else None for one in shown])
    return [f"{value} ± {half}" if half else value for value, half in zip(means, halves, strict=True)]


def _places(result: Result | None) -> dict[int, int]:
    """A complete trial's number -> its configuration's place; empty without replicates."""
    if result is None or not result.replicated:
        return {}
    return {number: place for place, one in enumerate(result.estimates, start=1) for number in one.trials}

"""A study as the metrics of a run of its own: what it has found, what it has used, what stopping early has saved; pure.

A row for each trial that has ended, in the order of their ends. Rows follow from the trials' records alone, so that whoever begins that run
anew, after whatever ended its last writer, comes to the same ones.

What was saved is counted as the GPU-hours that the stopped trials would still have taken to their last step, at the pace of the steps that
they did train. Trials that were refused, or failed, saved nothing: nobody decided to stop them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from harness.digest import latest_and_best
from harness.result import best_trial, is_candidate, result_of
from harness.status import StudyStatus
from harness.trial_status import TrialStatus
from harness.types import Objective, Reason, StudyRecord, TrialState

JOB = "study"  # the job type of that run
BEST, INCUMBENT, TRIALS, IMPORTANCE = "study/best", "study/incumbent", "study/trials", "importance"
ENDED, USED, SAVED, WALL = "study/ended", "study/gpu_hours_used", "study/gpu_hours_saved", "study/wall_hours"
_STOPPED = (Reason.PRUNED, Reason.GUARDED)  # by a decision of the study's
_MILESTONE = 1.25  # factor between the numbers of ended trials at which what is costly is told


def count_name(state: TrialState) -> str:
    return f"study/{state.lower()}"


def in_order_of_ends(trials: Iterable[TrialStatus]) -> list[TrialStatus]:
    return sorted((trial for trial in trials if trial.state.ended), key=lambda trial: (trial.ended_at or 0.0, trial.number))


def rows(record: StudyRecord, ended: Sequence[TrialStatus], *, begin: int = 0) -> Iterator[tuple[int, dict[str, float]]]:
    """(number of ended trials, what was known then) for those behind the first `begin`; `ended` in the order of their ends."""
    for count in range(begin + 1, len(ended) + 1):
        yield count, row(record, ended[:count], at=ended[count - 1].ended_at or record.created_at)


def row(record: StudyRecord, trials: Sequence[TrialStatus], *, at: float) -> dict[str, float]:
    """Without a complete trial there is no best one. `at`: seconds since the epoch."""
    counts = Counter(trial.state for trial in trials)
    told = {
        ENDED: float(sum(trial.state.ended for trial in trials)),
        WALL: max(at - record.created_at, 0.0) / 3600,
        USED: sum(trial.gpu_seconds for trial in trials) / 3600,
        SAVED: saved_gpu_s(trials) / 3600,
        **{count_name(state): float(counts[state]) for state in TrialState},
    }
    best = best_trial(trials, record.objectives[0])
    return told if best is None else told | {BEST: _value(best, trials, record.objectives), INCUMBENT: float(best.number)}


def _value(best: TrialStatus, trials: Sequence[TrialStatus], objectives: Sequence[Objective]) -> float:
    """Its configuration's, over all seeds that count."""
    alike = sum(trial.configuration == best.configuration and is_candidate(trial) for trial in trials)
    result = result_of(trials, objectives) if alike > 1 else None
    return (best.values or (math.nan,))[0] if result is None else result.best.mean


def is_milestone(ended: int) -> bool:
    """Whether importance and the table of trials are told with this row: at each of the first few, then ever more seldom."""
    return ended < 2 or math.floor(math.log(ended, _MILESTONE)) > math.floor(math.log(ended - 1, _MILESTONE))


def saved_gpu_s(trials: Iterable[TrialStatus]) -> float:
    """GPU-seconds."""
    return sum(_left_s(trial) for trial in trials if trial.state is TrialState.PRUNED and trial.reason in _STOPPED)


def _left_s(trial: TrialStatus) -> float:
    if not trial.steps or not trial.total_steps or not trial.seconds:
        return 0.0
    training_s = max(trial.seconds - (trial.startup_s or 0.0), 0.0)
    gpus = trial.gpu_seconds / trial.seconds
    return max(trial.total_steps - trial.steps, 0) / trial.steps * training_s * gpus


def trial_columns(knobs: Sequence[str]) -> list[str]:
    return ["trial", "configuration", "role", "state", "reason", "value", *knobs, "seed", "steps", "seconds", "gpu_hours", "message"]


def trial_row(status: StudyStatus, trial: TrialStatus) -> list[Any]:
    """In the order of `trial_columns`; the value of one that has not ended with one is the last that it logged."""
    knobs = [trial.params.get(knob) for knob in status.record.knobs]
    value = latest_and_best(trial, status.record.objectives[0])[0]
    reason = trial.reason.value if trial.reason is not None else None
    cost = (trial.seconds, trial.gpu_seconds / 3600)
    named = [trial.number, trial.configuration, trial.role.value, trial.state.value, reason, value]
    return [*named, *knobs, trial.seed, trial.steps, *cost, trial.message]

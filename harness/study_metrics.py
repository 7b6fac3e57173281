"""A study as the metrics of a run of its own: what it has found, what it has used, what stopping early has saved; pure.

What was saved is counted as the GPU-hours that the stopped trials would still have taken to their last step, at the pace of the steps that
they did train. Trials that were refused, or failed, saved nothing: nobody decided to stop them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from harness.digest import latest_and_best
from harness.status import StudyStatus
from harness.trial_status import TrialStatus
from harness.types import Reason, TrialState

JOB = "study"  # the job type of that run
BEST, INCUMBENT, TRIALS, IMPORTANCE = "study/best", "study/incumbent", "study/trials", "importance"
ENDED, USED, SAVED, WALL = "study/ended", "study/gpu_hours_used", "study/gpu_hours_saved", "study/wall_hours"
_STOPPED = (Reason.PRUNED, Reason.GUARDED)  # by a decision of the study's


def count_name(state: TrialState) -> str:
    return f"study/{state.lower()}"


def study_metrics(status: StudyStatus) -> dict[str, float]:
    """One row. Without a best trial there is no best; a study on processors alone has used no GPU-hours."""
    best = status.best_mean()
    row = {
        ENDED: float(status.told),
        WALL: status.elapsed_s / 3600,
        USED: sum(trial.gpu_seconds for trial in status.trials) / 3600,
        SAVED: saved_gpu_s(status.trials) / 3600,
        **{count_name(state): float(status.counts[state]) for state in TrialState},
    }
    if best is not None and status.best is not None:
        row |= {BEST: best[0], INCUMBENT: float(status.best.number)}
    return row if status.full_runs is None else row | {"study/full_runs": status.full_runs}


def saved_gpu_s(trials: Iterable[TrialStatus]) -> float:
    """GPU-seconds."""
    return sum(_left_s(trial) for trial in trials if trial.state is TrialState.PRUNED and trial.reason in _STOPPED)


def _left_s(trial: TrialStatus) -> float:
    if not trial.steps or not trial.total_steps or trial.seconds is None or not trial.gpu_seconds:
        return 0.0
    training_s = max(trial.seconds - (trial.startup_s or 0.0), 0.0)
    left = max(trial.total_steps - trial.steps, 0) / trial.steps
    return left * training_s * trial.gpu_seconds / trial.seconds if trial.seconds else 0.0


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

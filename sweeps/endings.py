"""What the end of an attempt means for its trial: pure, but for the attempt's events."""

from __future__ import annotations

import time
from collections.abc import Sequence

from harness import records
from harness.attempt_watch import AttemptWatch
from harness.errors import MissingMetric
from harness.failures import likeness
from harness.objective import Curve
from harness.paths import AttemptPaths, TrialPaths
from harness.plain import plain
from harness.types import AttemptResult, Failure, Reason, RunState, TrialState
from sweeps import failing
from sweeps.runner import Outcome


def outcome(curves: Sequence[Curve], result: AttemptResult, failure: Failure | None = None) -> Outcome:
    """Only a training that ran to its end and logged every objective is COMPLETE, only one that pruner or guard stopped is PRUNED.

    One that was interrupted or paused waits: the study may go on with it.
    """
    if result.state is RunState.SUCCEEDED:
        return _completed(curves, result)
    if result.state is RunState.STOPPED and result.reason.goes_on:
        return Outcome(state=TrialState.WAITING, reason=result.reason, message=result.message)
    if result.state is RunState.STOPPED and result.reason in (Reason.PRUNED, Reason.GUARDED):
        return Outcome(state=TrialState.PRUNED, reason=result.reason, message=result.message)
    if failure is None:
        return Outcome(state=TrialState.FAIL, reason=result.reason, message=result.message)
    message = failing.sentence(failure, result.message)
    return Outcome(state=TrialState.FAIL, reason=result.reason, message=message, likeness=likeness(failure))


def _completed(curves: Sequence[Curve], result: AttemptResult) -> Outcome:
    try:
        values = tuple(curve.value() for curve in curves)
    except MissingMetric as error:
        return Outcome(state=TrialState.FAIL, reason=Reason.NO_METRIC, message=plain(str(error)))
    return Outcome(state=TrialState.COMPLETE, reason=Reason.FINISHED, message=result.message, values=values)


def lost(steps: int) -> AttemptResult:
    """For an attempt whose supervisor died without a word; `steps` is the last one that was logged."""
    return AttemptResult(
        state=RunState.FAILED,
        reason=Reason.LOST,
        message="nobody could say how it ended; see the engine's log",
        ended_at=time.time(),
        steps=steps,
        forced=True,
    )


def slot_seconds(trial: TrialPaths) -> float:
    """How long a trial's attempts held a slot, in all."""
    total = 0.0
    for attempt in trial.attempts():
        watch = AttemptWatch(attempt, "")
        watch.follow_events()
        result = records.read_if_there(attempt.result, AttemptResult)
        until = result.ended_at if result is not None else watch.last_sign_at()
        total += max(until - watch.given.at, 0.0) if watch.given is not None else 0.0
    return total


def startup_s(attempt: AttemptPaths) -> float | None:
    """Seconds from being given a slot to the first training step; None where there was none."""
    watch = AttemptWatch(attempt, "")
    watch.follow_events()
    return watch.startup_s

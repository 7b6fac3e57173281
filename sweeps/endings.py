"""What the end of an attempt means for its trial: pure, but for the attempt's events."""

from __future__ import annotations

import time
from collections.abc import Sequence

from harness.errors import MissingMetric
from harness.objective import Curve
from harness.paths import AttemptPaths
from harness.trial_status import AttemptWatch
from harness.types import AttemptResult, Reason, RunState, TrialState
from sweeps.loop import Outcome


def outcome(curves: Sequence[Curve], result: AttemptResult) -> Outcome:
    """Only a training that ran to its end and logged every objective is COMPLETE; only the pruner's stop is PRUNED."""
    if result.state is RunState.SUCCEEDED:
        return _completed(curves, result)
    if result.state is RunState.STOPPED and result.reason is Reason.PRUNED:
        return Outcome(state=TrialState.PRUNED, reason=Reason.PRUNED, message=result.message)
    return Outcome(state=TrialState.FAIL, reason=result.reason, message=result.message)


def _completed(curves: Sequence[Curve], result: AttemptResult) -> Outcome:
    try:
        values = tuple(curve.value() for curve in curves)
    except MissingMetric as error:
        return Outcome(state=TrialState.FAIL, reason=Reason.NO_METRIC, message=str(error))
    return Outcome(state=TrialState.COMPLETE, reason=Reason.FINISHED, message=result.message, values=values)


def lost(steps: int) -> AttemptResult:
    """For an attempt whose supervisor died without a word; `steps` is the last one that was logged."""
    return AttemptResult(
        state=RunState.FAILED,
        reason=Reason.LOST,
        message="the supervisor died; see the engine's log",
        ended_at=time.time(),
        steps=steps,
        forced=True,
    )


def startup_s(attempt: AttemptPaths) -> float | None:
    """Seconds from being given a slot to the first training step; None where there was none."""
    watch = AttemptWatch(attempt, "")
    watch.follow_events()
    return watch.startup_s

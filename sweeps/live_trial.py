"""A trial that has a slot, as its runner follows it, and what the folders of its attempts say of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness import records
from harness.engine import was_taken
from harness.errors import NonFiniteMetric
from harness.expense import Expense, Resource
from harness.guards import Watch
from harness.metrics import MetricReader
from harness.objective import Curve
from harness.paths import AttemptPaths, TrialPaths
from harness.types import AttemptResult, Failure, Objective, Reason, StopRequest, TrialSpec
from sweeps.engines import LiveEngine
from sweeps.runner import Outcome, Update

NOT_ITS_FAULT = (Reason.UNTRUSTED, Reason.LOST, Reason.INTERRUPTED, Reason.PAUSED)


@dataclass(slots=True)
class LiveTrial:
    """A trial that has a slot."""

    spec: TrialSpec
    paths: TrialPaths
    config: dict[str, object]
    engine: LiveEngine
    attempt: AttemptPaths
    metrics: MetricReader
    curves: tuple[Curve, ...]
    guards: Watch
    expense: Expense | None  # where the pruner counts in it
    warm: bool
    excused: int  # earlier attempts that say nothing about the trial
    adopted: bool = False  # was asked for by a controller that is gone
    steps: int = 0
    told_of_lines: bool = False  # that cannot be read
    stop: StopRequest | None = None
    trouble: Outcome | None = None  # decided here, while the engine still has to end
    failure: Failure | None = None  # of the present attempt


def expense_of(resource: Resource, gpus: float, attempts: Iterable[AttemptPaths]) -> Expense | None:
    """Of these attempts together; None where steps are all that counts."""
    if resource is Resource.STEPS:
        return None
    expense = Expense(resource=resource, gpus=gpus)
    for attempt in attempts:
        for point in MetricReader(attempt.metrics).new_points():
            expense.add(point)
    return expense


def update_of(number: int, points: Sequence[tuple[int, float]], expense: Expense | None, outcome: Outcome | None = None) -> Update:
    """With what the trial had used up at each of its points."""
    spent = {step: expense.up_to(step) for step, _ in points} if expense is not None else {}
    return Update(number=number, points=points, spent=spent, outcome=outcome)


def next_attempt(trial: TrialPaths) -> AttemptPaths:
    """The trial's last one where no engine has taken it, else a new one."""
    attempts = trial.attempts()
    if attempts and not attempts[-1].result.exists() and not was_taken(attempts[-1]):
        return attempts[-1]
    return trial.attempt(len(attempts))


def excused(attempt: AttemptPaths) -> int:
    """How many attempts before this one ended by no fault of the trial."""
    results = (records.read_if_there(attempt.trial.attempt(number).result, AttemptResult) for number in range(attempt.number))
    return sum(result is None or result.reason in NOT_ITS_FAULT for result in results)


def curve_of(objective: Objective, attempts: Iterable[AttemptPaths]) -> Curve:
    """As these attempts logged it one after the other; a later one goes on from a checkpoint, and its word counts."""
    curve = Curve(objective)
    for attempt in attempts:
        with contextlib.suppress(NonFiniteMetric):
            curve.extend(MetricReader(attempt.metrics).new_points())
    return curve

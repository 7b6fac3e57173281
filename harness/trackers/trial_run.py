"""A trial's run as its files tell it, whatever died: who it is, every step once, how it ended. Imports no tracker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from harness import identity, records
from harness.metrics import MetricReader
from harness.paths import AttemptPaths, StudyPaths, TrialPaths
from harness.types import (
    AttemptResult,
    AttemptSpec,
    Failure,
    GuardRecord,
    MetricPoint,
    Reason,
    StudyRecord,
    TrialResult,
    TrialSpec,
    TrialState,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Who a run is; the same for every attempt and every process that tells of it."""

    id: str
    entity: str | None
    project: str
    name: str
    group: str
    job_type: str
    tags: tuple[str, ...]
    notes: str
    config: dict[str, Any]
    sweep: str | None = None  # W&B's, that the run is shown on the page of


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """How a run is closed."""

    tags: tuple[str, ...]
    summary: dict[str, Any]
    exit_code: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """That a trial's run is with a tracker's server, whole and closed."""

    run_id: str
    rows: int
    told_at: float  # seconds since the epoch


def identity_of(trial: TrialPaths) -> Identity | None:
    """None for a trial that was never given to an engine, or that ran without this harness: it has no run of ours."""
    spec, attempt = records.read_if_there(trial.spec, TrialSpec), last_spec(trial)
    if spec is None or attempt is None or not attempt.run_id:
        return None
    study = records.read(StudyPaths(trial.root.parent).record, StudyRecord)
    asked = attempt.environment.get("WANDB_TAGS", "").split(",")  # the user's own among them
    return Identity(
        id=attempt.run_id,
        entity=attempt.environment.get("WANDB_ENTITY"),
        project=attempt.config["trainer"]["project_name"],
        name=attempt.config["trainer"]["experiment_name"],
        group=spec.study,
        job_type=spec.role.value,
        tags=identity.unique((*identity.tags(spec, attempt.config), *asked)),
        notes=identity.notes(spec),
        config={**attempt.config, **identity.configuration(spec, study.objectives)},
        sweep=attempt.environment.get("WANDB_SWEEP_ID"),
    )


def last_spec(trial: TrialPaths) -> AttemptSpec | None:
    """Of the last attempt that has one."""
    specs = (records.read_if_there(attempt.spec, AttemptSpec) for attempt in reversed(trial.attempts()))
    return next((spec for spec in specs if spec is not None), None)


def end_of(trial: TrialPaths) -> End | None:
    """None while the trial may go on."""
    result = records.read_if_there(trial.result, TrialResult)
    if result is None:
        return None
    return _end(trial, result.state, result.reason, result.message, result)


def rest_of(trial: TrialPaths) -> End:
    """For a run that nobody adds to for now: its trial is paused, or was left."""
    attempt = _last_result(trial)
    if attempt is None:
        return _end(trial, TrialState.WAITING, Reason.LOST, "nobody runs it", None)
    return _end(trial, identity.state_of(attempt.state, attempt.reason), attempt.reason, attempt.message, None)


def _end(trial: TrialPaths, state: TrialState, reason: Reason, message: str, result: TrialResult | None) -> End:
    attempts = trial.attempts()
    guard = records.read_if_there(attempts[-1].guard, GuardRecord) if attempts else None
    failure = records.read_if_there(attempts[-1].failure, Failure) if attempts else None
    codes = tuple(verdict.code for verdict in guard.verdicts) if guard is not None else ()
    summary = identity.summary(state, reason, message, result)
    summary |= {"harness/guards": ", ".join(codes)} if codes else {}
    summary |= {"harness/oom_site": failure.part.value} if failure is not None and failure.part is not None else {}
    return End(
        tags=identity.ending_tags(state, reason, codes),
        summary=summary,
        exit_code=identity.exit_code(state, _last_result(trial)),
    )


def _last_result(trial: TrialPaths) -> AttemptResult | None:
    attempts = trial.attempts()
    return records.read_if_there(attempts[-1].result, AttemptResult) if attempts else None


def rows_of(trial: TrialPaths) -> dict[int, dict[str, float]]:
    """Every step that was logged, in rising order: the later word counts where an attempt logged again what one before it had."""
    found: dict[int, dict[str, float]] = {}
    for attempt in trial.attempts():
        found |= _merged(MetricReader(attempt.metrics).new_points())
    return dict(sorted(found.items()))


def _merged(points: Iterator[MetricPoint]) -> dict[int, dict[str, float]]:
    rows: dict[int, dict[str, float]] = {}
    for point in points:
        rows.setdefault(point.step, {}).update(point.values)
    return rows


@dataclass(slots=True)
class RowReader:
    """Follows a trial's rows over its attempts while they are written; a step that was given is not given again."""

    trial: TrialPaths
    last: int = -1  # the step that was given last
    _attempt: AttemptPaths | None = None
    _reader: MetricReader | None = None
    _waiting: dict[int, dict[str, float]] = field(default_factory=dict)

    def new_rows(self, *, ended: bool = False) -> dict[int, dict[str, float]]:
        """Steps that are whole: the last one only when `ended`, or when another attempt has begun, for another line may be its too."""
        given: dict[int, dict[str, float]] = {}
        for attempt in self.trial.attempts():
            if self._attempt is not None and attempt.number < self._attempt.number:
                continue
            if self._attempt is None or attempt.number > self._attempt.number:
                given |= self._give(everything=True)
                self._attempt, self._reader = attempt, MetricReader(attempt.metrics)
            assert self._reader is not None
            for point in self._reader.new_points():
                if point.step > self.last:
                    self._waiting.setdefault(point.step, {}).update(point.values)
            given |= self._give(everything=ended)
        return given

    def _give(self, *, everything: bool) -> dict[int, dict[str, float]]:
        steps = sorted(self._waiting)
        given = {step: self._waiting.pop(step) for step in (steps if everything else steps[:-1])}
        self.last = max(given, default=self.last)
        return given

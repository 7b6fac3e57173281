"""Reads every record that a study goes on from, before it does: refuses in one sentence what is torn, and says what to do about it."""

from __future__ import annotations

import fcntl
from collections.abc import Collection, Iterator
from pathlib import Path

from harness import records
from harness.engine import Assignment
from harness.errors import ConfigError, RecordError
from harness.metrics import MetricReader
from harness.paths import AttemptPaths, EnginePaths, StudyPaths, TrialPaths
from harness.types import AttemptResult, AttemptSpec, EngineSpec, GuardRecord, Lease, StopRequest, TrialResult, TrialSpec


def refuse(study: StudyPaths, told: Collection[int]) -> None:
    """`told` are the trials whose end Optuna knows: of them only that end is read. Raises ConfigError."""
    for trial in study.trials():
        for problem in _of_ended(trial) if trial.number in told else _of_open(trial):
            raise ConfigError(f"{problem}; restore it, or remove {trial.root}{_consequence(trial.number in told)}")
    for engine in study.engines():
        if not engine.ended.exists():
            for problem in _of_engine(engine):
                raise ConfigError(f"{problem}; {_engine_cure(engine)}")


def _consequence(told: bool) -> str:
    return ": the study knows its result without it" if told else ", and the trial runs again"


def _of_ended(trial: TrialPaths) -> Iterator[RecordError]:
    yield from _unreadable(trial.result, TrialResult)


def _of_open(trial: TrialPaths) -> Iterator[RecordError]:
    yield from _unreadable(trial.spec, TrialSpec)
    yield from _unreadable(trial.result, TrialResult)
    attempts = trial.attempts()
    if attempts and not trial.spec.exists():
        yield RecordError("is not there, though the trial was begun", path=trial.spec)
    for attempt in attempts:
        yield from _of_attempt(attempt)


def _of_attempt(attempt: AttemptPaths) -> Iterator[RecordError]:
    kinds = {attempt.spec: AttemptSpec, attempt.result: AttemptResult, attempt.stop: StopRequest, attempt.guard: GuardRecord}
    for path, kind in kinds.items():
        yield from _unreadable(path, kind)
    if attempt.result.exists() and not any(event.name == "given_slot" for event in records.events(attempt.events)):
        yield RecordError("does not say which engine had the attempt", path=attempt.events)
    try:
        MetricReader(attempt.metrics).new_points()
    except RecordError as error:
        yield error


def _of_engine(engine: EnginePaths) -> Iterator[RecordError]:
    yield from _unreadable(engine.command, EngineSpec)
    yield from _unreadable(engine.lease, Lease)
    for path in engine.assignments():
        yield from _unreadable(path, Assignment)
    if engine.assignments() and not engine.command.exists():
        yield RecordError("is not there, though the engine was started", path=engine.command)


def _unreadable(path: Path, kind: type) -> Iterator[RecordError]:
    try:
        records.read_if_there(path, kind)
    except RecordError as error:
        yield error


def _engine_cure(engine: EnginePaths) -> str:
    if _is_supervised(engine):
        return "its supervisor lives: restore it, or launch the study again once that has ended"
    return f"restore it, or remove {engine.root}: what it was training runs again"


def _is_supervised(engine: EnginePaths) -> bool:
    """Whether somebody holds the supervisor's lock."""
    try:
        with engine.lock.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False

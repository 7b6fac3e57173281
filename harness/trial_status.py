"""A trial as its records tell it at this moment; reads files only, and writes nothing.

Whatever is torn, missing or still being written counts as not there yet.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from harness import processes, records
from harness.attempt_watch import AttemptWatch, stitched
from harness.engine import Assignment
from harness.errors import RecordError
from harness.paths import AttemptPaths, EnginePaths, StudyPaths, TrialPaths
from harness.plain import plain
from harness.types import (
    AttemptResult,
    EngineSpec,
    Event,
    GpuUse,
    Lease,
    Params,
    Reason,
    Role,
    RunState,
    Slot,
    TrialResult,
    TrialSpec,
    TrialState,
)

T = TypeVar("T")
NOBODY = "nobody is running it"
INTERRUPTED = "interrupted; the study goes on with it when it is launched again"
_TOTAL_STEPS = "trainer.total_training_steps"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialStatus:
    """Where a trial stands. `*_at` are seconds since the epoch."""

    number: int
    state: TrialState
    reason: Reason | None = None
    message: str = ""
    params: Params = field(default_factory=dict)
    configuration: str = ""
    seed: int | None = None
    role: Role = Role.TUNING
    values: tuple[float, ...] | None = None
    curve: tuple[tuple[int, float], ...] = ()  # (step, value) of the first objective, over all attempts; NaN where verl logged NaN
    first_step: int = 0  # of the last attempt, which may have gone on from a checkpoint
    steps: int = 0
    total_steps: int | None = None
    attempts: int = 0
    seconds: float | None = None  # since the first slot; None before it
    startup_s: float | None = None  # of the last attempt, from its slot to its training; None before that
    slot: str | None = None
    engine: str | None = None  # `engine_paths` finds its folder
    started_at: float | None = None
    training_at: float | None = None  # since when the last attempt trains
    ended_at: float | None = None
    gpu_seconds: float = 0.0
    restores: int = 0  # attempts that went on where the plan had paused the one before
    warm: bool = False  # on an engine that had served others
    phases: dict[str, float] = field(default_factory=dict)  # seconds, of the last attempt, once the trial has ended
    gpu: GpuUse | None = None  # likewise
    deserted: bool = False  # running by its records, with neither a controller nor a supervisor alive


class TrialWatch:
    """Follows one trial until it has ended."""

    def __init__(self, paths: TrialPaths, metric: str, *, details: bool) -> None:
        self.paths = paths
        self._metric = metric
        self._details = details
        self._spec: TrialSpec | None = None
        self._result: TrialResult | None = None
        self._attempts: dict[int, AttemptWatch] = {}
        self._pauses: dict[int, float | None] = {}  # attempt -> when it was paused

    @property
    def known(self) -> bool:
        """Whether there is more than an empty folder, in which somebody is about to write."""
        return self._spec is not None or self._result is not None or self.paths.spec.exists()

    def look(self, now: float, *, controller_alive: bool, total_steps: int | None) -> TrialStatus:
        """`total_steps` is the study's, which a trial's own override supersedes."""
        if self._spec is None:
            self._spec = read_quietly(self.paths.spec, TrialSpec)
        self._result = read_quietly(self.paths.result, TrialResult)
        status = self._as_specified(total_steps)
        if self._result is not None:
            return self._ended(status, self._result)
        if self.paths.result.exists():
            status = replace(status, message=f"{self.paths.result.name} cannot be read")
        attempts = self._follow(attempt.number for attempt in self.paths.attempts())
        if not any(attempt.heard for attempt in attempts):
            return replace(status, attempts=len(attempts))
        last = read_quietly(attempts[-1].paths.result, AttemptResult)
        if last is not None and last.reason is Reason.INTERRUPTED and not controller_alive:
            return replace(self._running(status, attempts, last.ended_at, True), state=TrialState.WAITING, message=INTERRUPTED)
        if last is not None and last.state is RunState.STOPPED and last.reason is Reason.PAUSED:
            paused = self._running(status, attempts, last.ended_at, True)
            return replace(paused, state=TrialState.WAITING, reason=Reason.PAUSED, message=plain(last.message))
        return self._running(status, attempts, now, controller_alive)

    def _as_specified(self, total_steps: int | None) -> TrialStatus:
        """What is known before the first slot."""
        spec = self._spec
        if spec is None:
            message = f"{self.paths.spec.name} cannot be read" if self.paths.spec.exists() else ""
            return TrialStatus(number=self.paths.number, state=TrialState.WAITING, message=message, total_steps=total_steps)
        return TrialStatus(
            number=self.paths.number,
            state=TrialState.WAITING,
            params=spec.params,
            configuration=spec.configuration,
            seed=spec.seed,
            role=spec.role,
            total_steps=_own_total_steps(spec) or total_steps,
        )

    def _ended(self, status: TrialStatus, result: TrialResult) -> TrialStatus:
        attempts = self._follow(range(result.attempts)) if self._details else []
        last = attempts[-1] if attempts else None
        return replace(
            status,
            state=result.state,
            reason=result.reason,
            message=plain(result.message),
            values=result.values,
            curve=stitched(attempts),
            first_step=last.first_step if last else 0,
            steps=result.steps,
            attempts=result.attempts,
            seconds=result.seconds,
            startup_s=result.startup_s,
            slot=result.slot,
            engine=last.engine if last else None,
            started_at=result.ended_at - result.seconds if result.attempts else None,
            training_at=last.training.at if last and last.training else None,
            ended_at=result.ended_at,
            gpu_seconds=result.gpu_seconds,
            restores=result.restores,
            warm=result.warm,
            phases=result.phases,
            gpu=result.gpu,
        )

    def _running(self, status: TrialStatus, attempts: Sequence[AttemptWatch], now: float, controller_alive: bool) -> TrialStatus:
        last = attempts[-1]
        began = min((attempt.given.at for attempt in attempts if attempt.given), default=None)
        deserted = not controller_alive and not self._is_served(last)
        until = last.last_sign_at() if deserted else now
        pauses = [self._paused_at(attempt) for attempt in attempts[:-1]]
        idle = sum(max(after.given.at - at, 0.0) for at, after in zip(pauses, attempts[1:], strict=True) if at and after.given)
        seconds = None if began is None else max(until - began - idle, 0.0)
        return replace(
            status,
            state=TrialState.RUNNING,
            message=status.message or (self._deserted_words() if deserted else last.note),
            curve=stitched(attempts),
            first_step=last.first_step,
            steps=last.steps,
            attempts=len(attempts),
            seconds=seconds,
            startup_s=last.startup_s,
            slot=last.slot,
            engine=last.engine,
            started_at=began,
            training_at=last.training.at if last.training else None,
            gpu_seconds=(seconds or 0.0) * (Slot.named(last.slot).gpu_count if last.slot else 0.0),
            restores=sum(at is not None for at in pauses),
            deserted=deserted,
        )

    def _follow(self, numbers: Iterable[int]) -> list[AttemptWatch]:
        for number in numbers:
            attempt = self._attempts.setdefault(number, AttemptWatch(self.paths.attempt(number), self._metric))
            attempt.follow()
        return [self._attempts[number] for number in sorted(self._attempts)]

    def _paused_at(self, attempt: AttemptWatch) -> float | None:
        """When an earlier attempt was paused, if that is how it ended."""
        number = attempt.paths.number
        if number not in self._pauses:
            result = read_quietly(attempt.paths.result, AttemptResult)
            self._pauses[number] = result.ended_at if result is not None and result.reason is Reason.PAUSED else None
        return self._pauses[number]

    def _is_served(self, attempt: AttemptWatch) -> bool:
        """Whether a living supervisor still has this attempt to do."""
        if attempt.engine is None or attempt.paths.result.exists():
            return False
        folder = engine_paths(StudyPaths(self.paths.root.parent), attempt.engine)
        return folder is not None and processes.is_alive(read_quietly(folder.lease, Lease))

    def _deserted_words(self) -> str:
        lease = read_quietly(StudyPaths(self.paths.root.parent).lock, Lease)
        if lease is None or lease.host == socket.gethostname():
            return NOBODY
        return f"nobody on this host is running it; it was last controlled from {lease.host}"


def engine_paths(study: StudyPaths, engine: str) -> EnginePaths | None:
    """The folder of an engine by its folder's name, its number, or the name in its command."""
    by_folder = {folder.root.name: folder for folder in study.engines()}
    for name in (engine, f"engine-{engine}"):
        if name in by_folder:
            return by_folder[name]
    for folder in by_folder.values():
        command = read_quietly(folder.command, EngineSpec)
        if command is not None and command.engine == engine:
            return folder
    return None


def attempts_served(engine: EnginePaths) -> list[AttemptPaths]:
    """What the engine was handed so far, in order."""
    files = sorted(engine.inbox.glob("[0-9]*.json"))
    assignments = (read_quietly(path, Assignment) for path in files)
    return [AttemptPaths(Path(assignment.attempt)) for assignment in assignments if assignment is not None and assignment.attempt]


def attempt_events(attempt: AttemptPaths) -> list[Event]:
    """The events that can be read, oldest first."""
    return AttemptWatch(attempt, "").new_events()


def _own_total_steps(spec: TrialSpec) -> int | None:
    own = [line.partition("=")[2] for line in spec.overrides if line.lstrip("+").startswith(f"{_TOTAL_STEPS}=")]
    return int(own[-1]) if own and own[-1].isdigit() else None


def read_quietly(path: Path, kind: type[T]) -> T | None:
    """The record, or None where there is none that can be read (yet)."""
    try:
        return records.read(path, kind)
    except (OSError, RecordError):
        return None

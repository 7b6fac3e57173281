"""The engine's side of the file protocol: attempts in, events and results out. Light enough for every program that serves attempts.

An assignment is a file in the engine's inbox that names an attempt's folder; the engine takes them in order, one at a time, until it has
served what it may, is asked to leave, or closes its inbox: because its controller is gone and it waited in vain for another, or because it
does not trust itself with another attempt. A stop request is a file in the attempt's folder, honoured at a step boundary.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import processes, records
from harness.errors import RecordError
from harness.paths import AttemptPaths, EnginePaths
from harness.plain import plain
from harness.types import AttemptResult, AttemptSpec, EngineSpec, Lease, Reason, RunState, StopRequest

POLL_S = 0.05
LOOK_S = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """Hands an attempt to an engine; `attempt` is its folder. None: the engine itself took this place, and takes no more attempts."""

    attempt: str | None


def was_taken(attempt: AttemptPaths) -> bool:
    """Whether an engine has begun to serve an attempt that was handed over."""
    return attempt.metrics.exists() or any(event.name == "accepted" for event in records.events(attempt.events))


class AttemptDesk:
    """What a program does for one attempt."""

    def __init__(self, paths: AttemptPaths) -> None:
        self.paths = paths
        self.spec = records.read(paths.spec, AttemptSpec)

    @property
    def trains(self) -> bool:
        """False where the engine is only to get ready for others."""
        return self.spec.trial is not None

    def event(self, name: str, **data: Any) -> None:
        records.append(self.paths.events, "engine", name, **data)

    def stop_request(self) -> StopRequest | None:
        """The request to end at the next step boundary, if there is one."""
        return records.read_if_there(self.paths.stop, StopRequest)

    def conclude(self, state: RunState, reason: Reason, message: str, *, steps: int) -> None:
        """Writes the result, once; the process may serve another attempt afterwards."""
        result = AttemptResult(state=state, reason=reason, message=plain(message), ended_at=time.time(), steps=steps)
        records.write(self.paths.result, result)

    def ready(self) -> None:
        """Concludes an attempt that trains nothing."""
        self.conclude(RunState.SUCCEEDED, Reason.FINISHED, "ready", steps=0)

    def stopped(self, request: StopRequest, *, steps: int) -> None:
        """Concludes an attempt that honoured its stop request."""
        self.conclude(RunState.STOPPED, request.reason, request.message, steps=steps)


class EngineDesk:
    """What a program does between attempts."""

    def __init__(self, paths: EnginePaths) -> None:
        self.paths = paths
        self.spec = records.read(paths.command, EngineSpec)
        self.served = 0  # attempts that were handed over
        self._open = True
        self._looked = -math.inf
        self._awaited = False

    def event(self, name: str, **data: Any) -> None:
        records.append(self.paths.events, "engine", name, **data)

    def attempts(self) -> Iterator[AttemptDesk]:
        """Every attempt that is handed over, until it is time to leave."""
        while self._open and self.served < self.spec.serves:
            assignment = self._wait()
            if assignment is None or assignment.attempt is None:
                return
            desk = AttemptDesk(AttemptPaths(Path(assignment.attempt)))
            desk.event("accepted", engine=self.spec.engine, served=self.served)
            self.served += 1
            yield desk

    def close(self) -> bool:
        """Takes the next place of the inbox itself, so that nobody hands over an attempt that would not be served; False: somebody has."""
        try:
            records.write(self.paths.assignment(self.served), Assignment(attempt=None))
        except FileExistsError:
            return False
        self._open = False
        return True

    def _wait(self) -> Assignment | None:
        path = self.paths.assignment(self.served)
        patience = time.monotonic() + self.spec.idle_s
        while (assignment := records.read_if_there(path, Assignment)) is None:
            if self.paths.leave.exists():
                return None
            if self._is_awaited():
                patience = time.monotonic() + self.spec.idle_s
            elif time.monotonic() > patience and self.close():
                self.event("idle", seconds=self.spec.idle_s)
            time.sleep(POLL_S)
        return assignment

    def _is_awaited(self) -> bool:
        """Whether the controller lives: whoever lets an engine stand by for hours has not forgotten it."""
        now = time.monotonic()
        if now - self._looked > LOOK_S:
            self._looked = now
            with contextlib.suppress(RecordError):  # it is being written
                self._awaited = processes.is_alive(records.read_if_there(self.paths.study.lock, Lease))
        return self._awaited

"""The engine's side of the file protocol: attempts in, events and results out. Light enough for every program that serves attempts.

An assignment is a file in the engine's inbox that names an attempt's folder; the engine takes them in order, one at a time, until it has
served what it may, is asked to leave, or has waited in vain. A stop request is a file in the attempt's folder, honoured at a step boundary.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import records
from harness.paths import AttemptPaths, EnginePaths
from harness.types import AttemptResult, AttemptSpec, EngineSpec, Reason, RunState, StopRequest

POLL_S = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """Hands an attempt to an engine; `attempt` is its folder."""

    attempt: str


class AttemptDesk:
    """What a program does for one attempt."""

    def __init__(self, paths: AttemptPaths) -> None:
        self.paths = paths
        self.spec = records.read(paths.spec, AttemptSpec)

    def event(self, name: str, **data: Any) -> None:
        records.append(self.paths.events, "engine", name, **data)

    def stop_request(self) -> StopRequest | None:
        """The request to end at the next step boundary, if there is one."""
        return records.read_if_there(self.paths.stop, StopRequest)

    def conclude(self, state: RunState, reason: Reason, message: str, *, steps: int) -> None:
        """Writes the result, once; the process may serve another attempt afterwards."""
        result = AttemptResult(state=state, reason=reason, message=message, ended_at=time.time(), steps=steps)
        records.write(self.paths.result, result)

    def stopped(self, request: StopRequest, *, steps: int) -> None:
        """Concludes an attempt that honoured its stop request."""
        self.conclude(RunState.STOPPED, request.reason, request.message, steps=steps)


class EngineDesk:
    """What a program does between attempts."""

    def __init__(self, paths: EnginePaths) -> None:
        self.paths = paths
        self.spec = records.read(paths.command, EngineSpec)

    def event(self, name: str, **data: Any) -> None:
        records.append(self.paths.events, "engine", name, **data)

    def attempts(self) -> Iterator[AttemptDesk]:
        """Every attempt that is handed over, until it is time to leave."""
        for index in range(self.spec.serves):
            assignment = self._wait_for(self.paths.assignment(index))
            if assignment is None:
                return
            desk = AttemptDesk(AttemptPaths(Path(assignment.attempt)))
            desk.event("accepted", engine=self.spec.engine, served=index)
            yield desk

    def _wait_for(self, path: Path) -> Assignment | None:
        patience = time.monotonic() + self.spec.idle_s
        while time.monotonic() < patience:
            assignment = records.read_if_there(path, Assignment)
            if assignment is not None:
                return assignment
            if self.paths.leave.exists():
                return None
            time.sleep(POLL_S)
        self.event("idle", seconds=self.spec.idle_s)
        return None

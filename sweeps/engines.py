"""The engines of a study on their slots: which one a trial gets, when a new one has to start, and when all have to go."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness import command, records
from harness.engine import Assignment
from harness.fingerprint import once_only
from harness.launchers.base import EngineLauncher
from harness.paths import AttemptPaths, EnginePaths, StudyPaths
from harness.types import Slot
from sweeps.config import Settings

POLL_S = 0.1


@dataclass(slots=True)
class LiveEngine:
    """An engine on its slot."""

    paths: EnginePaths
    fingerprint: str
    serves: int
    served: int = 0  # attempts that it was given
    busy: bool = False
    spent: bool = False  # takes no more attempts


@dataclass(slots=True)
class EnginePool:
    """At most one engine to a slot."""

    study: StudyPaths
    settings: Settings
    launcher: EngineLauncher
    _engines: dict[int, LiveEngine] = field(default_factory=dict)  # by slot
    _next: int = 0

    def __post_init__(self) -> None:
        self._next = 1 + max((engine.number for engine in self.study.engines()), default=-1)

    def on(self, slot: Slot) -> LiveEngine:
        """The engine that the slot had last."""
        return self._engines[slot.index]

    def is_alive(self, engine: LiveEngine) -> bool:
        return self.launcher.is_alive(engine.paths)

    def free(self) -> list[Slot]:
        return [slot for slot in self.launcher.slots() if self._is_free(slot)]

    def choose(self, structure: str) -> Slot:
        """A free slot whose engine can serve this structure, else one without an engine, else one whose engine has to go."""

        def effort(slot: Slot) -> int:
            engine = self._engines.get(slot.index)
            if engine is None or not self.is_alive(engine):
                return 1
            return 0 if engine.fingerprint == structure and not engine.spent else 2

        return min(self.free(), key=effort)

    def engine_for(self, slot: Slot, structure: str, config: Mapping[str, object]) -> LiveEngine:
        """The slot's engine where it can serve this structure, else a new one; waits until an engine that cannot is gone."""
        engine = self._engines.get(slot.index)
        if engine is not None and self.is_alive(engine):
            if engine.fingerprint == structure and not engine.spent:
                return engine
            engine.paths.leave.touch()
            while self.is_alive(engine):
                time.sleep(POLL_S)
        return self._new(slot, structure, serves=1 if once_only(config) else self.settings.serves)

    def hand_over(self, engine: LiveEngine, attempt: AttemptPaths) -> bool:
        """False where the engine has just closed its inbox."""
        try:
            records.write(engine.paths.assignment(engine.served), Assignment(attempt=str(attempt.root.absolute())))
        except FileExistsError:
            engine.spent = True
            return False
        if engine.served == 0:
            self.launcher.start(engine.paths)
        engine.served, engine.busy = engine.served + 1, True
        engine.spent = engine.served >= engine.serves
        return True

    def end(self, engine: LiveEngine) -> None:
        """By force; returns when it is gone."""
        while self.is_alive(engine):
            self.launcher.end(engine.paths)
            time.sleep(POLL_S)

    def hurry(self) -> None:
        """Ends every engine by force: the user is in haste."""
        for engine in self._engines.values():
            self.launcher.end(engine.paths)

    def leave(self) -> None:
        """Lets idle engines go, and waits until all that was started is gone."""
        for engine in self._engines.values():
            engine.paths.leave.touch()
        while any(map(self.is_alive, self._engines.values())):
            time.sleep(POLL_S)

    def _is_free(self, slot: Slot) -> bool:
        engine = self._engines.get(slot.index)
        return engine is None or not (engine.busy or (engine.spent and self.is_alive(engine)))

    def _new(self, slot: Slot, structure: str, *, serves: int) -> LiveEngine:
        paths = self.study.engine(self._next)
        self._next += 1
        paths.inbox.mkdir(parents=True)
        spec = command.engine_spec(
            self.study,
            paths.number,
            slot,
            self.settings.module,
            limits=self.settings.limits,
            structure=structure,
            serves=serves,
            growth=self.settings.growth,
            threads=self.settings.resources.threads,
            environment={},
        )
        records.write(paths.command, spec)
        self._engines[slot.index] = LiveEngine(paths=paths, fingerprint=structure, serves=serves)
        return self._engines[slot.index]

"""The engines of a study on their slots: which one a trial gets, when a new one has to start, and when all have to go.

A slot has one engine. With `engine.standby` it may have two, of different structure, one of which is idle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import command, records
from harness.engine import Assignment
from harness.fingerprint import once_only
from harness.launchers.base import EngineLauncher
from harness.paths import AttemptPaths, EnginePaths, StudyPaths
from harness.types import AttemptResult, EngineSpec, RunState, Slot
from sweeps.config import Settings

POLL_S = 0.1
ROOM_S = 1.0  # between two looks for room
_WHOLE_STEPS = 2  # seen from a first step to the one after the next: an engine's memory rises and falls once within each


@dataclass(slots=True)
class LiveEngine:
    """An engine on its slot."""

    paths: EnginePaths
    slot: Slot
    fingerprint: str
    serves: int
    served: int = 0  # attempts that it was given
    busy: bool = False
    spent: bool = False  # takes no more attempts
    stands_by: bool = False  # was started without a trial, and has not said yet that it is ready
    last_used: float = 0.0  # monotonic
    seen_from: int | None = None  # the step at which its memory was looked at first

    def fits(self, structure: str) -> bool:
        return self.fingerprint == structure and not self.spent


@dataclass(slots=True)
class EnginePool:
    """The engines that this controller has started. `say` tells the user what they would want to know."""

    study: StudyPaths
    settings: Settings
    launcher: EngineLauncher
    say: Callable[[str], None]
    _engines: list[LiveEngine] = field(default_factory=list)
    _next: int = 0
    _standby: bool = False
    _looked: float = 0.0

    def __post_init__(self) -> None:
        self._next = 1 + max((engine.number for engine in self.study.engines()), default=-1)
        self._standby = self.settings.standby

    def adopt(self) -> None:
        """Takes over the engines that a controller which is gone left behind, or had asked for and never started."""
        for paths in self.study.engines():
            spec = records.read_if_there(paths.command, EngineSpec)
            given = paths.assignments()
            if spec is None or not given or paths.ended.exists():
                continue
            closed = records.read(given[-1], Assignment).attempt is None
            engine = LiveEngine(
                paths=paths,
                slot=spec.slot,
                fingerprint=spec.fingerprint,
                serves=spec.serves,
                served=len(given) - closed,
                spent=closed or len(given) >= spec.serves or paths.leave.exists(),
                stands_by=paths.warm_up.spec.exists(),
            )
            if not paths.lease.exists():
                self.launcher.start(paths)  # its supervisor may be starting this moment: then the second one gives way
            self._engines.append(engine)

    def serving(self, attempt: AttemptPaths) -> LiveEngine | None:
        """The engine that has the attempt in its inbox."""
        for engine in self._engines:
            for path in engine.paths.assignments():
                given = records.read(path, Assignment).attempt
                if given is not None and Path(given) == attempt.root.absolute():
                    return engine
        return None

    def gone(self, attempt: AttemptPaths) -> LiveEngine:
        """The engine that concluded an attempt and has ended since."""
        given = [event.data for event in records.events(attempt.events) if event.name == "given_slot"][-1]
        paths, slot = self.study.engine(given["engine"]), Slot.named(given["slot"])
        return LiveEngine(paths=paths, slot=slot, fingerprint="", serves=0, spent=True)

    def end_strays(self) -> None:
        """Ends adopted engines that train what nobody follows."""
        for engine in self._engines:
            if not engine.busy and not engine.stands_by and self._has_more_to_do(engine):
                self.end(engine)

    def _has_more_to_do(self, engine: LiveEngine) -> bool:
        given = (records.read(path, Assignment).attempt for path in engine.paths.assignments())
        return any(attempt is not None and not AttemptPaths(Path(attempt)).result.exists() for attempt in given)

    def is_alive(self, engine: LiveEngine) -> bool:
        return self.launcher.is_alive(engine.paths)

    def free(self) -> list[Slot]:
        """Slots that can be given an attempt now."""
        return [slot for slot in self.launcher.slots() if self._is_free(slot)]

    def choose(self, structure: str) -> Slot | None:
        """A free slot whose engine can serve this structure, else one without an engine, else one whose engine may have to go."""

        def effort(slot: Slot) -> int:
            engines = self._on(slot)
            if not engines:
                return 2
            return min((1 if engine.stands_by else 0) if engine.fits(structure) else 3 for engine in engines)

        return min(self.free(), key=effort, default=None)

    def engine_for(self, slot: Slot, structure: str, config: Mapping[str, Any]) -> LiveEngine | None:
        """The slot's engine where it can serve this structure, else a new one, after those that have to go for it are gone.

        None where the slot has to settle first.
        """
        for engine in self._on(slot):
            if engine.fits(structure):
                return engine
        self._make_room(slot)
        if not self._on(slot) and not self._is_clear(slot):
            return None
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
        engine.served, engine.busy, engine.last_used = engine.served + 1, True, time.monotonic()
        engine.spent = engine.served >= engine.serves
        return True

    def stand_by(self, present: LiveEngine, step: int, wanted: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Starts the first engine that is `wanted` (structure, configuration) beside one that trains, where there is room for it."""
        now = time.monotonic()
        if now - self._looked < ROOM_S:
            return
        self._looked = now
        beside = len(self._on(present.slot)) > 1
        if beside or not self._standby or any(engine.stands_by for engine in self._engines):
            return
        other = next(((key, config) for key, config in wanted if key != present.fingerprint and not once_only(config)), None)
        if other is None:
            return
        room = self.launcher.has_room_beside(present.paths)  # asked at every look: it remembers the most that was used
        present.seen_from = step if present.seen_from is None else present.seen_from
        if room and step >= present.seen_from + _WHOLE_STEPS:
            self._warm_up(present, *other)

    def end(self, engine: LiveEngine) -> None:
        """By force; returns when it is gone."""
        while self.is_alive(engine):
            self.launcher.end(engine.paths)
            time.sleep(POLL_S)

    def hurry(self) -> None:
        """Ends every engine by force: the user is in haste."""
        for engine in self._engines:
            self.launcher.end(engine.paths)

    def leave(self) -> None:
        """Lets idle engines go, and waits until all that was started is gone."""
        for engine in self._engines:
            self._dismiss(engine)
        while any(map(self.is_alive, self._engines)):
            time.sleep(POLL_S)

    def _on(self, slot: Slot) -> list[LiveEngine]:
        """The slot's engines that are there, the last used first."""
        for engine in self._engines:
            if engine.stands_by:
                self._see(engine)
        self._engines = [engine for engine in self._engines if engine.busy or not engine.served or self.is_alive(engine)]
        return sorted((engine for engine in self._engines if engine.slot == slot), key=lambda engine: -engine.last_used)

    def _is_free(self, slot: Slot) -> bool:
        engines = self._on(slot)
        return not any(engine.busy or engine.spent for engine in engines) if engines else self._is_clear(slot)

    def _is_clear(self, slot: Slot) -> bool:
        return self.launcher.is_clear(slot, self.settings.rollout_share, self.say)

    def _make_room(self, slot: Slot) -> None:
        """Ends the slot's idle engines; with standby, all but the last used, which stays where memory allows."""
        engines = self._on(slot)
        stays = engines[:1] if self._standby and engines and self.launcher.has_room_beside(engines[0].paths) else []
        leaving = [engine for engine in engines if engine not in stays]
        for engine in leaving:
            self._dismiss(engine)
        while any(map(self.is_alive, leaving)):
            time.sleep(POLL_S)

    def _dismiss(self, engine: LiveEngine) -> None:
        engine.paths.leave.touch()
        if engine.stands_by:  # it would look only when it is ready
            self.launcher.end(engine.paths)

    def _see(self, engine: LiveEngine) -> None:
        """Whether an engine that was starting is ready now, or failed; after one that failed none is started any more."""
        result = records.read_if_there(engine.paths.warm_up.result, AttemptResult)
        if result is None and self.is_alive(engine):
            return
        engine.stands_by = False
        if result is None or result.state is not RunState.SUCCEEDED:
            why = "its supervisor died" if result is None else result.message
            self._standby, engine.spent = False, True
            self.say(f"{engine.paths.root.name} could not stand by ({why}); no other will")

    def _warm_up(self, present: LiveEngine, structure: str, config: Mapping[str, Any]) -> None:
        engine = self._new(present.slot, structure, serves=1 + self.settings.serves)
        paths = engine.paths.warm_up
        paths.root.mkdir()
        spec = command.warm_up_spec(engine.paths, config, object_store_mib=self.settings.resources.object_store_mib)
        records.write(paths.spec, spec)
        self.hand_over(engine, paths)
        engine.busy, engine.stands_by, engine.last_used = False, True, 0.0
        self.say(f"{engine.paths.root.name} starts beside {present.paths.root.name} on {present.slot.name}, to stand by for other trials")

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
            preload=self.settings.preload,
            environment={},
        )
        records.write(paths.command, spec)
        engine = LiveEngine(paths=paths, slot=slot, fingerprint=structure, serves=serves)
        self._engines.append(engine)
        return engine

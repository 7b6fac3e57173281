"""An engine and whoever hands attempts to it can never miss each other: a place in the inbox is taken once."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from harness import processes, records
from harness.engine import Assignment, AttemptDesk, EngineDesk
from harness.paths import AttemptPaths, EnginePaths
from harness.types import AttemptResult, AttemptSpec, EngineSpec, Limits, RunState, Slot


def desk(folder: Path, *, serves: int = 3, idle_s: float = 600.0) -> EngineDesk:
    paths = EnginePaths(folder / "engine-0")
    paths.inbox.mkdir(parents=True)
    spec = EngineSpec(
        engine="e",
        slot=Slot(index=0),
        argv=("true",),
        environment={},
        scratch="s",
        limits=Limits(),
        fingerprint="f",
        serves=serves,
        idle_s=idle_s,
    )
    records.write(paths.command, spec)
    return EngineDesk(paths)


def attempt(folder: Path, number: int) -> AttemptPaths:
    paths = AttemptPaths(folder / f"trial-{number:04d}" / "attempt-0")
    paths.root.mkdir(parents=True)
    spec = AttemptSpec(study="s", trial=number, attempt=0, run_id="r", environment={}, fingerprint="f", config={})
    records.write(paths.spec, spec)
    return paths


def hand_over(engine: EngineDesk, index: int, paths: AttemptPaths) -> None:
    records.write(engine.paths.assignment(index), Assignment(attempt=str(paths.root)))


def test_attempts_are_served_in_order_up_to_the_limit(tmp_path: Path) -> None:
    engine = desk(tmp_path, serves=2)
    for index in range(3):
        hand_over(engine, index, attempt(tmp_path, index))
    assert [served.spec.trial for served in engine.attempts()] == [0, 1]
    assert engine.served == 2


def test_an_engine_waits_for_as_long_as_a_controller_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.engine.LOOK_S", 0.0)
    engine = desk(tmp_path, idle_s=0.0)
    records.write(engine.paths.study.lock, processes.my_lease())
    waiting = threading.Thread(target=lambda: list(engine.attempts()), daemon=True)
    waiting.start()
    time.sleep(0.3)
    assert not engine.paths.assignment(0).exists()
    records.replace(engine.paths.study.lock, replace(processes.my_lease(), pid=2**22 + 1))
    waiting.join(10)
    assert records.read(engine.paths.assignment(0), Assignment).attempt is None


def test_an_attempt_of_no_trial_trains_nothing(tmp_path: Path) -> None:
    paths = attempt(tmp_path, 0)
    records.replace(paths.spec, replace(records.read(paths.spec, AttemptSpec), trial=None))
    served = AttemptDesk(paths)
    assert not served.trains
    served.ready()
    assert records.read(paths.result, AttemptResult).state is RunState.SUCCEEDED


def test_a_closed_engine_refuses_the_next_attempt_to_the_face_of_who_hands_it_over(tmp_path: Path) -> None:
    engine = desk(tmp_path)
    hand_over(engine, 0, attempt(tmp_path, 0))
    served = engine.attempts()
    next(served)
    assert engine.close()
    with pytest.raises(FileExistsError):
        hand_over(engine, 1, attempt(tmp_path, 1))
    assert list(served) == []


def test_an_attempt_that_came_first_keeps_the_engine_open(tmp_path: Path) -> None:
    engine = desk(tmp_path)
    hand_over(engine, 0, attempt(tmp_path, 0))
    assert not engine.close()
    engine.paths.leave.touch()
    assert [served.spec.trial for served in engine.attempts()] == [0]


def test_an_engine_that_waited_in_vain_closes_and_leaves(tmp_path: Path) -> None:
    engine = desk(tmp_path, idle_s=0.1)
    assert list(engine.attempts()) == []
    assert records.read(engine.paths.assignment(0), Assignment).attempt is None
    assert [event.name for event in records.events(engine.paths.events)] == ["idle"]

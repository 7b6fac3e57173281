"""Every launcher's yaml, run through the contract of `harness.launchers.base.EngineLauncher` with a real engine: the drill's."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import carriers
from hydra.utils import instantiate
from omegaconf import OmegaConf

from harness import records
from harness.engine import Assignment
from harness.paths import AttemptPaths, EnginePaths, StudyPaths
from harness.types import AttemptResult, AttemptSpec, EngineSpec, Limits, Reason, RunState, Slot

CONF = Path(__file__).parents[2] / "hydra_plugins" / "verl_sweep_conf" / "hydra" / "launcher"


@pytest.fixture(params=sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def launcher(request: pytest.FixtureRequest) -> Any:
    return instantiate(OmegaConf.load(request.param), slots=2).engine_launcher()


@pytest.fixture
def engine(tmp_path: Path) -> tuple[EnginePaths, AttemptPaths]:
    return an_engine(StudyPaths(tmp_path), steps=400)


def an_engine(study: StudyPaths, *, steps: int) -> tuple[EnginePaths, AttemptPaths]:
    """Folders of an engine with one attempt of the drill in its inbox."""
    paths, attempt = study.engine(0), study.trial(0).attempt(0)
    paths.inbox.mkdir(parents=True)
    attempt.root.mkdir(parents=True)
    spec = EngineSpec(
        engine=f"contract-{study.root.name}",
        slot=Slot(index=0),
        argv=(sys.executable, "-m", "harness.drill", str(paths.root)),
        environment={},
        scratch=str(study.root / "scratch"),
        limits=Limits(stop_grace_s=10, term_grace_s=2),
        fingerprint="0",
        serves=1,
    )
    records.write(paths.command, spec)
    records.write(
        attempt.spec,
        AttemptSpec(
            study="contract",
            trial=0,
            attempt=0,
            run_id="contract-0",
            environment={"VERL_FILE_LOGGER_PATH": str(attempt.metrics)},
            fingerprint="0",
            config=drill_config(steps),
        ),
    )
    records.write(paths.assignment(0), Assignment(attempt=str(attempt.root)))
    return paths, attempt


def drill_config(steps: int) -> dict[str, Any]:
    return {
        "actor_rollout_ref": {"actor": {"optim": {"lr": 3e-5}, "kl_loss_coef": 1e-3}, "rollout": {"n": 8}},
        "algorithm": {"use_kl_in_reward": False},
        "data": {"seed": 1},
        "trainer": {"total_training_steps": steps, "test_freq": 1},
        "drill": {"mode": "ok", "startup_s": 0.0, "step_s": 0.02, "noise": 0.0, "at": 0.5, "source": "drill"},
    }


def until(condition: Callable[[], bool], patience_s: float = 30.0) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)


def test_slots_are_disjoint_and_as_many_as_asked(launcher: Any) -> None:
    slots = launcher.slots()
    assert [slot.index for slot in slots] == [0, 1]
    assert len({slot.name for slot in slots}) == 2


def test_an_engine_serves_its_attempt_and_is_gone_afterwards(launcher: Any, tmp_path: Path) -> None:
    paths, attempt = an_engine(StudyPaths(tmp_path), steps=3)
    launcher.start(paths)
    until(lambda: not launcher.is_alive(paths))
    result = records.read(attempt.result, AttemptResult)
    assert (result.state, result.reason, result.steps) == (RunState.SUCCEEDED, Reason.FINISHED, 3)
    assert carriers(records.read(paths.command, EngineSpec).engine) == []
    assert not (tmp_path / "scratch").exists()


def test_end_ends_an_engine_at_once_and_its_attempt_has_a_result(launcher: Any, engine: tuple[EnginePaths, AttemptPaths]) -> None:
    paths, attempt = engine
    launcher.start(paths)
    until(attempt.metrics.exists)
    launcher.end(paths)
    until(lambda: not launcher.is_alive(paths))
    result = records.read(attempt.result, AttemptResult)
    assert result.state is RunState.STOPPED
    assert result.forced


def test_an_engine_that_another_controller_started_is_seen_alive(launcher: Any, engine: tuple[EnginePaths, AttemptPaths]) -> None:
    paths, attempt = engine
    launcher.start(paths)
    until(attempt.metrics.exists)
    newcomer = type(launcher)(launcher.slots())
    assert newcomer.is_alive(paths)
    newcomer.end(paths)
    until(lambda: not launcher.is_alive(paths))
    assert not newcomer.is_alive(paths)


def test_there_is_room_beside_an_engine_as_long_as_memory_is_left(launcher: Any, engine: tuple[EnginePaths, AttemptPaths]) -> None:
    """The drill's takes a few MiB; asked is with what the host really has."""
    paths, attempt = engine
    launcher.start(paths)
    until(attempt.metrics.exists)
    assert launcher.has_room_beside(paths) is True
    launcher.end(paths)
    until(lambda: not launcher.is_alive(paths))


@pytest.mark.parametrize(("used", "room"), [((38_000, 38_001), True), ((38_000, 39_000), False)])
def test_another_engine_has_room_on_a_gpu_only_where_twice_the_most_that_was_used_fits(
    launcher: Any,
    engine: tuple[EnginePaths, AttemptPaths],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    used: tuple[int, int],
    room: bool,
) -> None:
    """The driver's tool is a double: two GPUs of 81,559 MiB whose use falls again after the first look."""
    paths, _ = engine
    spec = records.read(paths.command, EngineSpec)
    records.replace(paths.command, replace(spec, slot=Slot(index=0, gpus=("0", "1"))))
    driver_says(monkeypatch, tmp_path, *(f"{mib}, 81559" for mib in used))
    assert launcher.has_room_beside(paths) is room
    driver_says(monkeypatch, tmp_path, "1000, 81559", "1000, 81559")
    assert launcher.has_room_beside(paths) is room
    driver_says(monkeypatch, tmp_path, "[N/A], [N/A]")
    assert launcher.has_room_beside(paths) is False


def driver_says(monkeypatch: pytest.MonkeyPatch, folder: Path, *lines: str) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)

"""What a study does with GPUs whose memory does not come back. No GPU is needed: the driver's tool is a double that reads files."""

from __future__ import annotations

import os
import stat
import sys
import time
from pathlib import Path

import commands
import pytest
from commands import QUICK, left_alive, results

from harness.launchers import gpu_guard
from harness.launchers.gpu_guard import GpuGuard
from harness.paths import StudyPaths
from harness.types import Slot, TrialState

TOTAL_MIB = 81_559
SLOT = Slot(index=0, gpus=("0",))


class Driver:
    """`nvidia-smi` for two GPUs: each one's use stands in a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tool = folder / "nvidia-smi"
        tool.write_text(
            f"""#!{sys.executable}
import pathlib, sys
ids = [word.split("=")[1] for word in sys.argv if word.startswith("--id=")]
if "memory" in sys.argv[1]:
    for gpu in ids[0].split(","):
        print(pathlib.Path({str(folder)!r}, gpu).read_text() + ", {TOTAL_MIB}")
else:
    print("0\\n1")
"""
        )
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
        for gpu in ("0", "1"):
            self.uses(gpu, 4)

    def uses(self, gpu: str, mib: int) -> None:
        beside = self.folder / f".{gpu}"
        beside.write_text(str(mib))
        beside.replace(self.folder / gpu)


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    folder = tmp_path / "driver"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return Driver(folder)


def becomes_clear(guard: GpuGuard, said: list[str], within_s: float, share: float = 0.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if guard.is_clear(SLOT, share, said.append):
            return True
        time.sleep(0.05)
    return False


def test_a_slot_is_given_on_only_when_its_memory_is_back_and_steady(driver: Driver) -> None:
    guard, said = GpuGuard(), list[str]()
    assert guard.is_clear(SLOT, 0.5, said.append)
    guard.engine_starts(SLOT)
    driver.uses("0", 40_000)
    assert not becomes_clear(guard, said, 1.5)
    driver.uses("0", 300)  # what the driver keeps for a moment
    began = time.monotonic()
    assert becomes_clear(guard, said, 10.0)
    assert time.monotonic() - began >= gpu_guard.STABLE_S
    assert said == []


def test_memory_that_others_hold_keeps_a_trial_that_needs_it_away(driver: Driver) -> None:
    guard, said = GpuGuard(), list[str]()
    driver.uses("0", 60_000)
    assert not becomes_clear(guard, said, 1.5, share=0.5)
    assert becomes_clear(guard, said, 1.5, share=0.2)


def test_a_gpu_in_quarantine_is_used_again_when_it_comes_back(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_guard, "FAR_LOOK_S", 0.2)
    guard, said = GpuGuard(patience_s=0.5), list[str]()
    assert guard.is_clear(SLOT, 0.5, said.append)
    guard.engine_starts(SLOT)
    driver.uses("0", 40_000)
    assert not becomes_clear(guard, said, 2.0)
    assert guard.quarantined() == ["gpu:0"]
    driver.uses("0", 4)
    assert becomes_clear(guard, said, 5.0)
    assert guard.quarantined() == []
    held = "GPU 0 has 40000 MiB in use, 4 before its engine started"
    assert said == [
        f"QUARANTINED: gpu:0 gets no more trials, for {held}; see nvidia-smi for whose it is",
        "gpu:0 is back and used again",
    ]


def test_without_the_drivers_tool_nothing_is_checked_and_that_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    guard, said = GpuGuard(), list[str]()
    assert all(guard.is_clear(SLOT, 0.5, said.append) for _ in range(3))
    assert len(said) == 1
    assert said[0].endswith("whether GPU memory comes back after a trial is not checked")


STUDY = (
    "-m",
    "experiment=drill",
    *QUICK,
    "hydra/sweeper/pruner=none",
    "resources.gpus_per_slot=1",
    "engine.reuse=never",
    "hydra.launcher.engines.gpu_back_s=1",
    "study.name=leaky",
)


def test_a_study_goes_on_without_the_gpu_that_does_not_come_back(driver: Driver, tmp_path: Path) -> None:
    controller = commands.start("verl-sweep", *STUDY, "resources.slots=2", "hydra.sweeper.n_trials=6", cwd=tmp_path)
    study = StudyPaths(tmp_path / "outputs" / "leaky")
    commands.wait_until(lambda: len(study.trials()) == 2, meanwhile=[controller])
    driver.uses("1", 40_000)  # of trial 1's engine, for ever
    out, err = controller.communicate(timeout=commands.TIMEOUT_S)
    assert (controller.returncode, err) == (0, "")
    assert "QUARANTINED: gpu:1 gets no more trials, for GPU 1 has 40000 MiB in use, 4 before its engine started" in out
    found = results(study)
    assert {result.state for result in found.values()} == {TrialState.COMPLETE}
    assert len(found) == 6
    assert [result.slot for result in found.values()].count("gpu:1") == 1
    assert left_alive(study) == []


def test_a_study_whose_last_gpu_does_not_come_back_ends_and_can_go_on(driver: Driver, tmp_path: Path) -> None:
    controller = commands.start("verl-sweep", *STUDY, "resources.slots=1", "hydra.sweeper.n_trials=2", cwd=tmp_path)
    study = StudyPaths(tmp_path / "outputs" / "leaky")
    commands.wait_until(lambda: len(study.trials()) == 1, meanwhile=[controller])
    driver.uses("0", 40_000)
    _, err = controller.communicate(timeout=commands.TIMEOUT_S)
    assert (controller.returncode, err) == (1, "verl-sweep: no slot is left: gpu:0 did not come back; see nvidia-smi for what holds them\n")
    driver.uses("0", 4)
    again = commands.run("verl-study", "resume", "leaky", cwd=tmp_path)
    assert (again.returncode, again.stderr) == (0, "")
    assert [result.state for result in results(study).values()] == [TrialState.COMPLETE] * 2

"""What a study does with GPUs whose memory does not come back. No GPU is needed: the driver's tool is a double."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import commands
import pytest
from commands import QUICK, engine_specs, left_alive, results
from gpu_driver import TOTAL_MIB, Driver

from harness.errors import ConfigError
from harness.launchers import gpu_guard
from harness.launchers.gpu_guard import GpuGuard
from harness.paths import StudyPaths
from harness.types import Slot, TrialState
from sweeps.rehearse import refuse_oversubscribed

SLOT = Slot(index=0, gpus=("0",))


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
    "engine.reuse=never",
    "hydra.launcher.engines.gpu_back_s=1",
    "study.name=leaky",
)
ONE_EACH = ("resources.gpus_per_slot=1",)


def test_a_study_goes_on_without_the_gpu_that_does_not_come_back(driver: Driver, tmp_path: Path) -> None:
    controller = commands.start("verl-sweep", *STUDY, *ONE_EACH, "resources.slots=2", "hydra.sweeper.n_trials=6", cwd=tmp_path)
    study = StudyPaths(tmp_path / "outputs" / "leaky")
    commands.wait_until(lambda: len(study.engines()) == 2, meanwhile=[controller])
    driver.uses("1", 40_000)  # of trial 1's engine, for ever
    out, err = controller.communicate(timeout=commands.TIMEOUT_S)
    assert (controller.returncode, err) == (0, "")
    assert "QUARANTINED: gpu:1 gets no more trials, for GPU 1 has 40000 MiB in use, 4 before its engine started" in out
    found = results(study)
    assert {result.state for result in found.values()} == {TrialState.COMPLETE}
    assert len(found) == 6
    assert [result.slot for result in found.values()].count("gpu:1") == 1
    assert left_alive(study) == []


@pytest.mark.slow
def test_a_study_whose_last_gpu_does_not_come_back_ends_and_can_go_on(driver: Driver, tmp_path: Path) -> None:
    controller = commands.start("verl-sweep", *STUDY, *ONE_EACH, "resources.slots=1", "hydra.sweeper.n_trials=2", cwd=tmp_path)
    study = StudyPaths(tmp_path / "outputs" / "leaky")
    commands.wait_until(lambda: len(study.engines()) == 1, meanwhile=[controller])
    driver.uses("0", 40_000)
    _, err = controller.communicate(timeout=commands.TIMEOUT_S)
    assert (controller.returncode, err) == (1, "verl-sweep: no slot is left: gpu:0 did not come back; see nvidia-smi for what holds them\n")
    driver.uses("0", 4)
    again = commands.run("verl-study", "resume", "leaky", cwd=tmp_path)
    assert (again.returncode, again.stderr) == (0, "")
    assert [result.state for result in results(study).values()] == [TrialState.COMPLETE] * 2


# --- one GPU for several slots --------------------------------------------------------------------------------------------------------

SHARED = tuple(Slot(index=part, gpus=("0",), part=part, parts=2) for part in range(2))


def test_a_part_of_a_gpu_is_given_on_when_as_much_as_it_may_take_is_free_whatever_its_neighbour_does(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_guard, "CLEAR_S", 0.3)
    guard, said = GpuGuard(), list[str]()
    for used, clear in ((4, True), (TOTAL_MIB // 2, True), (TOTAL_MIB * 6 // 10, False), (TOTAL_MIB // 3, True)):
        driver.uses("0", used)
        time.sleep(gpu_guard.CLEAR_S + gpu_guard.LOOK_S)
        assert guard.is_clear(SHARED[0], 0.3, said.append) is clear, used
        guard.engine_starts(SHARED[0])
    assert said == []


def test_trials_that_share_a_gpu_run_at_once_and_each_is_charged_its_part(driver: Driver, tmp_path: Path) -> None:
    shared = (*ONE_EACH, "resources.slots=4", "resources.slots_per_gpu=2", "hydra.sweeper.n_trials=4")
    ran = commands.run("verl-sweep", *STUDY, *shared, cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    study = StudyPaths(tmp_path / "outputs" / "leaky")
    specs = engine_specs(study)
    assert sorted(spec.environment["CUDA_VISIBLE_DEVICES"] for spec in specs) == ["0", "0", "1", "1"]
    assert sorted(spec.slot.name for spec in specs) == ["gpu:0#1/2", "gpu:0#2/2", "gpu:1#1/2", "gpu:1#2/2"]
    assert [result.gpu_seconds / result.seconds for result in results(study).values()] == [0.5] * 4


def test_rollouts_that_would_leave_nothing_to_the_trainers_on_a_shared_gpu_are_refused(driver: Driver, tmp_path: Path) -> None:
    greedy = ("resources.slots_per_gpu=2", "rollout=vllm", "actor_rollout_ref.rollout.gpu_memory_utilization=0.5")
    ran = commands.run("verl-sweep", *STUDY, *ONE_EACH, *greedy, cwd=tmp_path)
    assert ran.returncode == 2
    assert "0.5 of a GPU for the rollout of each of its 2 slots leaves the trainers nothing" in ran.stderr
    assert not (tmp_path / "outputs").exists()


def test_a_model_that_is_too_big_for_a_part_of_a_gpu_is_refused(driver: Driver, tmp_path: Path) -> None:
    """Two billion parameters take 16 bytes each while they learn, 8 where Adam's states wait on the host."""
    numbers = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 28, "num_attention_heads": 16, "vocab_size": 32000}
    (tmp_path / "config.json").write_text(json.dumps(numbers))
    actor = {
        "strategy": "fsdp2",
        "ppo_max_token_len_per_gpu": 8192,
        "use_kl_loss": False,
        "fsdp_config": {"param_offload": False, "optimizer_offload": False},
    }
    rollout = {"gpu_memory_utilization": 0.1, "tensor_model_parallel_size": 1}
    tree = {
        "actor_rollout_ref": {"model": {"path": str(tmp_path), "lora_rank": 0}, "actor": actor, "rollout": rollout},
        "algorithm": {"adv_estimator": "grpo", "use_kl_in_reward": False},
        "trainer": {"n_gpus_per_node": 1, "nnodes": 1},
    }
    refuse_oversubscribed(SHARED, tree, 0.1)
    thirds = tuple(Slot(index=part, gpus=("0",), part=part, parts=3) for part in range(3))
    with pytest.raises(ConfigError, match=r"a trial takes about 3\d\.\d GiB of its GPU while learning, and each of 3 has 26\.5"):
        refuse_oversubscribed(thirds, tree, 0.1)
    refuse_oversubscribed((Slot(index=0, gpus=("0",)),), tree, 0.9)


def test_parts_of_sets_of_gpus_are_refused(driver: Driver, tmp_path: Path) -> None:
    ran = commands.run("verl-sweep", *STUDY, "resources.gpus_per_slot=2", "resources.slots_per_gpu=2", cwd=tmp_path)
    assert ran.returncode == 2
    assert "resources.slots_per_gpu: 2 slots share a GPU only where each takes one, not 2" in ran.stderr
    assert not (tmp_path / "outputs").exists()

"""Studies of SmolLM2 with verl, FSDP2 and vLLM on one GPU, launched as their user launches them. Run by make gpu-test."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import commands
import pytest
from commands import results

from harness import gpus, records
from harness.launchers.gpu_guard import TOLERANCE_MIB
from harness.metrics import MetricReader
from harness.paths import StudyPaths, TrialPaths
from harness.types import AttemptResult, Reason, TrialState

START_UP_S = 420.0  # of a cold engine, and of making the policy before it
pytestmark = [pytest.mark.gpu, pytest.mark.timeout(900)]
STUDY = (
    "-m",
    "experiment=smollm2_gpu",
    "lr=choice(1e-5,3e-5)",
    "kl_coef=0.001",
    "rollout_n=8",
    "hydra/sweeper/sampler=grid",
    "hydra/sweeper/pruner=none",
)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """On the first GPU; policy and task are made by the first study that needs them."""
    return (f"resources.gpus=[{gpus.visible()[0]}]", f"paths.assets={tmp_path_factory.mktemp('assets')}")


def used_mib() -> int:
    """Of that GPU, by whomever."""
    (memory,) = gpus.memory(gpus.visible()[:1])
    return memory.used


def logged(trial: TrialPaths, metric: str) -> list[float]:
    """Over the steps of the first attempt."""
    points = MetricReader(trial.attempt(0).metrics).new_points()
    return [point.values[metric] for point in points if metric in point.values]


def test_the_doctor_finds_nothing_lacking(here: tuple[str, ...], tmp_path: Path) -> None:
    looked = commands.run("verl-study", "doctor", "experiment=smollm2_gpu", *here, cwd=tmp_path)
    assert (looked.returncode, looked.stderr) == (0, ""), looked.stdout


def test_two_trials_complete_on_one_engine_whose_rollout_has_the_actors_weights(here: tuple[str, ...], tmp_path: Path) -> None:
    done = commands.run("verl-sweep", *STUDY, *here, "study.name=two", "steps=3", "trainer.test_freq=3", cwd=tmp_path, timeout_s=800)
    assert done.returncode == 0, done.stdout + done.stderr
    study = StudyPaths(tmp_path / "outputs" / "two")
    told = results(study)
    assert [result.state for result in told.values()] == [TrialState.COMPLETE] * 2
    assert [result.warm for result in told.values()] == [False, True]
    for trial in study.trials():
        correlations = logged(trial, "training/rollout_actor_probs_pearson_corr")
        assert len(correlations) == 3
        assert min(correlations) > 0.9
    assert commands.left_alive(study) == []


def test_two_engines_on_one_gpu_train_as_one_after_the_other_does(here: tuple[str, ...], tmp_path: Path) -> None:
    """Neither gets the other's weights: verl's own socket for them has the same name in both."""
    short = ("steps=6", "trainer.test_freq=6")
    for name, layout in (("alone", ()), ("beside", ("resources=gpu_half",))):
        done = commands.run("verl-sweep", *STUDY, *here, *layout, *short, f"study.name={name}", cwd=tmp_path, timeout_s=800)
        assert done.returncode == 0, done.stdout + done.stderr
    alone, beside = (StudyPaths(tmp_path / "outputs" / name) for name in ("alone", "beside"))
    assert len({result.slot for result in results(beside).values()}) == 2
    for one, other in zip(alone.trials(), beside.trials(), strict=True):
        assert min(logged(other, "training/rollout_actor_probs_pearson_corr")) > 0.99
        assert logged(other, "critic/rewards/mean") == pytest.approx(logged(one, "critic/rewards/mean"), abs=0.1)


def test_a_trial_that_is_stopped_by_force_gives_its_gpu_back_and_the_next_one_trains(here: tuple[str, ...], tmp_path: Path) -> None:
    before = used_mib()
    endless = ("steps=1000", "trainer.test_freq=1000", "limits.stop_grace_s=1", "limits.term_grace_s=1", "hydra.sweeper.max_failure_rate=1")
    controller = commands.start("verl-sweep", *STUDY, *here, *endless, "study.name=forced", cwd=tmp_path)
    study = StudyPaths(tmp_path / "outputs" / "forced")
    for number in range(2):
        wait_for_training(study.trial(number), controller)
        assert used_mib() > before + TOLERANCE_MIB
        for pid in commands.left_alive(study):
            os.kill(pid, signal.SIGSTOP)  # so that it is deaf to the request, and to SIGTERM
        stopped = commands.run("verl-study", "stop", "forced", str(number), cwd=tmp_path)
        assert stopped.returncode == 0, stopped.stderr
        commands.wait_until(study.trial(number).result.exists)
    out, err = controller.communicate(timeout=commands.TIMEOUT_S)
    endings = [records.read(trial.attempt(0).result, AttemptResult) for trial in study.trials()]
    assert [(ending.reason, ending.forced) for ending in endings] == [(Reason.USER, True)] * 2, out + err
    assert not any(result.warm for result in results(study).values())  # an engine that was ended by force serves nobody else
    commands.wait_until(lambda: used_mib() <= before + TOLERANCE_MIB)
    assert commands.left_alive(study) == []


def wait_for_training(trial: TrialPaths, controller: subprocess.Popen[str]) -> None:
    """Until its first step is logged."""
    attempt = trial.attempt(0)
    commands.wait_until(lambda: attempt.metrics.exists() and logged(trial, "actor/kl_loss"), meanwhile=[controller], patience_s=START_UP_S)

"""Ctrl-C, SIGTERM and SIGHUP in a study over the stand-in trainer."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import commands
import pytest
from commands import assert_nothing_left, results

from harness import records
from harness.paths import StudyPaths
from harness.status import load_study
from harness.trial_status import INTERRUPTED
from harness.types import (
    AttemptResult,
    AttemptSpec,
    Reason,
    RunState,
    TrialSpec,
    TrialState,
)

NO_PRUNER = ("hydra/sweeper/pruner=none",)


LONG = ("-m", "experiment=drill", *NO_PRUNER, "drill.startup_s=0", "hydra.sweeper.n_trials=3", "study.name=broken-off")
GOES_ON = "verl-sweep: {}: interrupted; the same command goes on with the study\n"


def both_train(study: StudyPaths) -> bool:
    return all(study.trial(number).attempt(0).metrics.exists() for number in (0, 1))


def test_the_first_interrupt_lets_the_running_trials_end_and_starts_no_other(tmp_path: Path) -> None:
    study = StudyPaths(tmp_path / "outputs" / "broken-off")
    controller = commands.start("verl-sweep", *LONG, "steps=60", cwd=tmp_path)
    commands.wait_until(lambda: both_train(study), meanwhile=[controller])
    controller.send_signal(signal.SIGINT)
    out, err = controller.communicate(timeout=commands.TIMEOUT_S)
    assert (controller.returncode, err) == (130, GOES_ON.format("SIGINT"))
    assert "SIGINT: no more trials are started, the running ones go on; once more to stop them at their next step" in out
    assert {number: result.reason for number, result in results(study).items()} == {0: Reason.FINISHED, 1: Reason.FINISHED}
    assert_nothing_left(study)


@pytest.mark.parametrize(
    "signals",
    [(signal.SIGINT, signal.SIGINT), pytest.param((signal.SIGTERM,), marks=pytest.mark.slow)],
    ids=["interrupted twice", "terminated"],
)
def test_a_study_that_is_stopped_goes_on_later_with_the_very_trials_that_ran(tmp_path: Path, signals: tuple[signal.Signals, ...]) -> None:
    study = StudyPaths(tmp_path / "outputs" / "broken-off")
    controller = commands.start("verl-sweep", *LONG, "steps=5000", cwd=tmp_path)
    commands.wait_until(lambda: both_train(study), meanwhile=[controller])
    for number in signals:
        controller.send_signal(number)
        time.sleep(0.5)
    out, err = controller.communicate(timeout=commands.TIMEOUT_S)
    assert (controller.returncode, err) == (130, GOES_ON.format(signals[-1].name))
    assert f"{signals[-1].name}: stopping the running trials at their next step; once more to end them at once" in out
    assert results(study) == {}
    for number in (0, 1):
        end = records.read(study.trial(number).attempt(0).result, AttemptResult)
        assert (end.state, end.reason, end.forced) == (RunState.STOPPED, Reason.INTERRUPTED, False)
    assert [(trial.state, trial.message) for trial in load_study(study).trials] == [(TrialState.WAITING, INTERRUPTED)] * 2
    assert_nothing_left(study)
    asked = [records.read(study.trial(number).spec, TrialSpec) for number in (0, 1)]

    later = commands.run("verl-sweep", *LONG, "steps=10", "drill.step_s=0.01", cwd=tmp_path)
    assert (later.returncode, later.stderr) == (0, "")
    assert [(result.reason, result.attempts) for result in results(study).values()] == [
        (Reason.FINISHED, 2),
        (Reason.FINISHED, 2),
        (Reason.FINISHED, 1),
    ]
    assert [records.read(study.trial(number).spec, TrialSpec) for number in (0, 1)] == asked
    for number in (0, 1):
        run_ids = {records.read(attempt.spec, AttemptSpec).run_id for attempt in study.trial(number).attempts()}
        assert len(run_ids) == 1
    assert_nothing_left(study)


def test_the_third_interrupt_ends_a_deaf_engine_by_force(tmp_path: Path) -> None:
    command = (
        "experiment=drill",
        "drill.mode=deaf",
        "drill.at=0.001",
        "drill.startup_s=0",
        "limits.term_grace_s=0.2",
        "limits.stop_grace_s=1000",
    )
    controller = commands.start("verl-sweep", *command, "study.name=deaf", cwd=tmp_path)
    commands.wait_until(lambda: list(tmp_path.glob("outputs/*/trial-0000/attempt-0/metrics.jsonl")), meanwhile=[controller])
    (study,) = [StudyPaths(folder) for folder in (tmp_path / "outputs").iterdir()]
    controller.send_signal(signal.SIGINT)
    time.sleep(0.3)
    controller.send_signal(signal.SIGINT)
    commands.wait_until(study.trial(0).attempt(0).stop.exists, meanwhile=[controller])
    controller.send_signal(signal.SIGINT)
    controller.communicate(timeout=commands.TIMEOUT_S)
    end = records.read(study.trial(0).attempt(0).result, AttemptResult)
    assert (end.reason, end.forced) == (Reason.INTERRUPTED, True)
    assert_nothing_left(study)


def test_a_study_outlives_its_terminal(tmp_path: Path) -> None:
    study = StudyPaths(tmp_path / "outputs" / "broken-off")
    controller = commands.start("verl-sweep", *LONG, "steps=60", cwd=tmp_path)
    commands.wait_until(lambda: both_train(study), meanwhile=[controller])
    controller.send_signal(signal.SIGHUP)
    out, _ = controller.communicate(timeout=commands.TIMEOUT_S)
    assert controller.returncode == 0
    assert "Best trial" not in out
    assert {result.reason for result in results(study).values()} == {Reason.FINISHED}
    assert len(results(study)) == 3
    assert_nothing_left(study)

"""The controller is killed at every moment between two of its changes; the same command goes on, and nobody could tell the difference.

The slow campaign kills it at each of them, the others at a sample.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import commands
import optuna
import pytest
from commands import engine_specs, left_alive, results

from harness import records
from harness.metrics import MetricReader
from harness.paths import StudyPaths
from harness.types import AttemptResult, AttemptSpec, Lease, Reason, TrialSpec
from sweeps import storage

# One slot, three trials, two engines: the second trial finds one that runs, the third needs a new one.
STUDY = (
    "-m",
    "experiment=drill",
    "hydra/sweeper/pruner=none",
    "drill.startup_s=0",
    "drill.step_s=0.02",
    "steps=5",
    "resources.slots=1",
    "hydra.sweeper.n_trials=3",
    "engine.attempts=2",
    "study.name=mortal",
)
SAMPLE = (7, 24, 74)
KILLED = -9


def control(folder: Path, *more: str, dies_at: int = 0) -> int:
    """One controller; its exit status."""
    program = [sys.executable, str(Path(__file__).parents[1] / "dying_controller.py"), str(dies_at), str(folder / "changes")]
    done = subprocess.run(
        [*program, *STUDY, *more], cwd=folder, env=commands.environment(folder), capture_output=True, text=True, timeout=commands.TIMEOUT_S
    )
    assert done.returncode in (0, KILLED), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.returncode


def history(study: StudyPaths, kept: optuna.storages.BaseStorage | None = None) -> dict[str, Any]:
    """All that a study found, and how often it ran what."""
    told = optuna.load_study(study_name=study.name, storage=kept or storage.journal(study.journal)).trials
    trials = study.trials()
    attempts = [attempt for trial in trials for attempt in trial.attempts()]
    return {
        "proposals": [(records.read(trial.spec, TrialSpec).params, records.read(trial.spec, TrialSpec).seed) for trial in trials],
        "results": [(result.state, result.values, result.steps, result.attempts) for result in results(study).values()],
        "optuna": [(trial.params, trial.state.name, trial.values, trial.intermediate_values) for trial in told],
        "taken": [[event.name for event in records.events(attempt.events)].count("accepted") for attempt in attempts],
        "steps": [[point.step for point in MetricReader(attempt.metrics).new_points()] for attempt in attempts],
        "runs": [records.read(attempt.spec, AttemptSpec).run_id.rpartition("-")[2] for attempt in attempts],
    }


@pytest.fixture(scope="module")
def immortal(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], int]:
    """The history of a study whose controller was never killed, and how many changes it made."""
    folder = tmp_path_factory.mktemp("immortal")
    assert control(folder) == 0
    return history(StudyPaths(folder / "outputs" / "mortal")), len((folder / "changes").read_text().splitlines())


def assert_goes_on(folder: Path, dies_at: int, expected: dict[str, Any]) -> None:
    study = StudyPaths(folder / "outputs" / "mortal")
    assert control(folder, dies_at=dies_at) == KILLED
    assert control(folder) == 0
    assert history(study) == expected
    assert left_alive(study) == []
    assert [spec.scratch for spec in engine_specs(study) if Path(spec.scratch).exists()] == []


def test_the_history_is_that_of_three_trials_that_ran_once(immortal: tuple[dict[str, Any], int]) -> None:
    """Else equality would say little."""
    found, changes = immortal
    assert found["taken"] == [1, 1, 1]
    assert found["steps"] == [[1, 2, 3, 4, 5]] * 3
    assert len({str(params) for params, _ in found["proposals"]}) == 3
    assert changes > max(SAMPLE)


@pytest.mark.parametrize("dies_at", [SAMPLE[0], *(pytest.param(moment, marks=pytest.mark.slow) for moment in SAMPLE[1:])])
def test_a_killed_controllers_study_goes_on_as_if_it_had_lived(immortal: tuple[dict[str, Any], int], tmp_path: Path, dies_at: int) -> None:
    assert_goes_on(tmp_path, dies_at, immortal[0])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_so_it_is_at_every_moment(immortal: tuple[dict[str, Any], int], tmp_path: Path) -> None:
    found, changes = immortal
    for dies_at in range(1, changes + 1):
        folder = tmp_path / str(dies_at)
        folder.mkdir()
        assert_goes_on(folder, dies_at, found)


# --- other deaths ----------------------------------------------------------------------------------------------------------------------


def killed_amid(folder: Path, *arguments: str) -> StudyPaths:
    """A study of two slots whose controller is killed while both train."""
    controller = commands.start("verl-sweep", *arguments, cwd=folder)
    commands.wait_until(lambda: len(list(folder.glob("outputs/*/trial-*/attempt-0/metrics.jsonl"))) == 2, meanwhile=[controller])
    controller.kill()
    controller.communicate()
    (root,) = (folder / "outputs").iterdir()
    return StudyPaths(root)


SLOW = (
    "-m",
    "experiment=drill",
    "hydra/sweeper/pruner=none",
    "drill.startup_s=0",
    "steps=60",
    "hydra.sweeper.n_trials=3",
    "study.name=two",
)


def test_verl_study_resume_takes_over_what_runs(tmp_path: Path) -> None:
    study = killed_amid(tmp_path, *SLOW)
    engines = left_alive(study)
    ran = commands.run("verl-study", "resume", "two", cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert engines
    assert [(result.state.value, result.attempts) for result in results(study).values()] == [("COMPLETE", 1)] * 3
    assert len(study.engines()) == 2
    assert left_alive(study) == []


def test_engines_that_died_with_their_controller_are_replaced_and_their_trials_run_again(tmp_path: Path) -> None:
    """As after a reboot: nothing lives, and the leases are of processes that are gone."""
    study = killed_amid(tmp_path, *SLOW)
    for engine in study.engines():
        os.kill(records.read(engine.lease, Lease).pid, signal.SIGKILL)
    commands.wait_until(lambda: not left_alive(study))
    ran = commands.run("verl-study", "resume", "two", cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [(result.state.value, result.attempts) for result in results(study).values()] == [("COMPLETE", 2)] * 2 + [("COMPLETE", 1)]
    lost = records.read(study.trial(0).attempt(0).result, AttemptResult)
    assert lost.reason is Reason.LOST
    assert left_alive(study) == []


def test_a_supervisor_that_is_killed_costs_its_trial_an_attempt_and_nobody_else_anything(tmp_path: Path) -> None:
    controller = commands.start("verl-sweep", *SLOW, "limits.attempts=2", cwd=tmp_path)
    study = StudyPaths(tmp_path / "outputs" / "two")
    commands.wait_until(lambda: len(list(study.root.glob("trial-*/attempt-0/metrics.jsonl"))) == 2, meanwhile=[controller])
    (victim,) = [event.data["engine"] for event in records.events(study.trial(0).attempt(0).events) if event.name == "given_slot"]
    os.kill(records.read(study.engine(victim).lease, Lease).pid, signal.SIGKILL)
    _, err = controller.communicate(timeout=commands.TIMEOUT_S)
    assert (controller.returncode, err) == (0, "")
    assert [(result.state.value, result.attempts) for result in results(study).values()] == [("COMPLETE", 2)] + [("COMPLETE", 1)] * 2
    assert left_alive(study) == []


def test_a_second_controller_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    controller = commands.start("verl-sweep", *SLOW, cwd=tmp_path)
    study = StudyPaths(tmp_path / "outputs" / "two")
    commands.wait_until(lambda: len(list(study.root.glob("trial-*/attempt-0/metrics.jsonl"))) == 2, meanwhile=[controller])
    second = commands.run("verl-sweep", *SLOW, cwd=tmp_path)
    assert second.returncode == 2
    assert "study two is being run by another controller" in second.stderr
    controller.communicate(timeout=commands.TIMEOUT_S)
    assert controller.returncode == 0
    assert [(result.state.value, result.attempts) for result in results(study).values()] == [("COMPLETE", 1)] * 3

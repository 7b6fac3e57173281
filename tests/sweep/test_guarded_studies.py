"""Guards over whole studies of the stand-in trainer: what ends, what goes on, what is on record, and what a new controller makes of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess

import commands
import optuna
import pytest
from commands import drill, left_alive, results

from harness import records
from harness.paths import StudyPaths
from harness.types import AttemptResult, GuardAction, GuardRecord, Reason, RunState, TrialSpec, TrialState
from sweeps import storage
from sweeps.plans.course import REASON

ENDED = ("kl_blow_up", "entropy_collapse", "reward_hacking", "no_signal")
MARKED, HEALTHY = "slow", "ok"
HELD = ("lr=3e-5", "kl_coef=0.003", "rollout_n=16", "hydra/sweeper/pruner=none")
KILLED = -9


def modes(*names: str) -> tuple[str, ...]:
    """A trial of each."""
    return ("hydra/sweeper/sampler=grid", f"drill.mode=choice({','.join(names)})", f"hydra.sweeper.n_trials={len(names)}", *HELD)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> tuple[CompletedProcess[str], StudyPaths]:
    folder = tmp_path_factory.mktemp("guarded")
    ran = drill(folder, *modes(*ENDED, MARKED, HEALTHY), "steps=60", "study.name=guarded")
    return ran, StudyPaths(folder / "outputs" / "guarded")


def number_of(study: StudyPaths, mode: str) -> int:
    (number,) = [trial.number for trial in study.trials() if records.read(trial.spec, TrialSpec).params["drill.mode"] == mode]
    return number


def verdict_of(study: StudyPaths, mode: str) -> GuardRecord:
    return records.read(study.trial(number_of(study, mode)).attempt(0).guard, GuardRecord)


@pytest.mark.parametrize("mode", ENDED)
def test_a_trial_that_goes_wrong_is_pruned_with_code_and_evidence(guarded: tuple[CompletedProcess[str], StudyPaths], mode: str) -> None:
    ran, study = guarded
    assert (ran.returncode, ran.stderr) == (0, "")
    number = number_of(study, mode)
    result, verdict = results(study)[number], verdict_of(study, mode).stop
    assert verdict is not None
    assert (result.state, result.reason) == (TrialState.PRUNED, Reason.GUARDED)
    assert verdict.code == mode
    assert verdict.message == result.message
    assert verdict.message.startswith(f"{mode}: ")
    assert all(step >= 30 for step in verdict.steps)
    told = optuna.load_study(study_name=study.name, storage=storage.journal(study.journal)).trials[number]
    assert (told.state.name, told.user_attrs[REASON]) == ("PRUNED", "guarded")


def test_a_marked_trial_goes_on_and_is_told_of_while_a_healthy_one_has_no_record(
    guarded: tuple[CompletedProcess[str], StudyPaths],
) -> None:
    ran, study = guarded
    slow, healthy = number_of(study, MARKED), number_of(study, HEALTHY)
    assert [results(study)[number].state for number in (slow, healthy)] == [TrialState.COMPLETE] * 2
    assert [verdict.action for verdict in verdict_of(study, MARKED).verdicts] == [GuardAction.MARK]
    assert f"trial {slow}: throughput_collapse: perf/throughput 100 at steps 30 to 39, 0.1 times " in ran.stdout
    assert "; it goes on\n" in ran.stdout
    assert not study.trial(healthy).attempt(0).guard.exists()
    assert left_alive(study) == []


def test_show_says_it(guarded: tuple[CompletedProcess[str], StudyPaths]) -> None:
    _, study = guarded
    shown = commands.run("verl-study", "show", "guarded", str(number_of(study, "kl_blow_up")), cwd=study.root.parents[1])
    assert "PRUNED guarded" in shown.stdout
    assert "kl_blow_up: actor/kl_loss 25 at steps 30 to 34, " in shown.stdout


def test_a_guard_that_is_off_lets_the_trial_end_by_itself(tmp_path: Path) -> None:
    ran = drill(tmp_path, *modes("kl_blow_up"), "steps=60", "guards.kl_blow_up=null", "study.name=off")
    assert (ran.returncode, ran.stderr) == (0, "")
    study = StudyPaths(tmp_path / "outputs" / "off")
    assert results(study)[0].state is TrialState.COMPLETE
    assert not study.trial(0).attempt(0).guard.exists()


def test_a_guard_with_a_bad_setting_is_refused_before_anything_starts(tmp_path: Path) -> None:
    ran = drill(tmp_path, *modes("ok"), "guards.kl_blow_up.patience=1", "study.name=bad")
    assert (ran.returncode, ran.stderr) == (2, "verl-sweep: guards.kl_blow_up.patience: expected a whole number, 2 or more, got 1\n")
    assert not (tmp_path / "outputs" / "bad").exists()


# --- a controller that dies over a verdict ---------------------------------------------------------------------------------------------


def control(folder: Path, *, dies_at: int = 0) -> int:
    """One controller of a study of one trial that blows up; its exit status."""
    study = (
        "-m",
        "experiment=drill",
        *modes("kl_blow_up"),
        "steps=5000",
        "drill.at=0.0024",
        "drill.startup_s=0",
        "drill.step_s=0.02",
        "study.name=mortal",
    )
    program = [sys.executable, str(Path(__file__).parents[1] / "dying_controller.py"), str(dies_at), str(folder / "changes")]
    done = subprocess.run(
        [*program, *study], cwd=folder, env=commands.environment(folder), capture_output=True, text=True, timeout=commands.TIMEOUT_S
    )
    assert done.returncode in (0, KILLED), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.returncode


def ending(study: StudyPaths) -> Sequence[object]:
    attempts = study.trial(0).attempts()
    result = results(study)[0]
    return (result.state, result.reason, result.message, [records.read(attempt.guard, GuardRecord) for attempt in attempts])


@pytest.fixture(scope="module")
def immortal(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sequence[object], int]:
    """How the study ends whose controller lives, and at which of its changes the verdict is written."""
    folder = tmp_path_factory.mktemp("immortal")
    assert control(folder) == 0
    changes = (folder / "changes").read_text().splitlines()
    return ending(StudyPaths(folder / "outputs" / "mortal")), changes.index("_place guard.json") + 1


LATER = [pytest.param(later, marks=pytest.mark.slow) for later in range(4)]


@pytest.mark.parametrize("later", LATER, ids=["the verdict", "its event", "the stop request", "the next change"])
def test_a_verdict_is_the_same_whenever_the_controller_dies(later: int, immortal: tuple[Sequence[object], int], tmp_path: Path) -> None:
    expected, at = immortal
    study = StudyPaths(tmp_path / "outputs" / "mortal")
    assert control(tmp_path, dies_at=at + later) == KILLED
    assert control(tmp_path) == 0
    assert ending(study) == expected
    (attempt,) = study.trial(0).attempts()
    end = records.read(attempt.result, AttemptResult)
    assert (end.state, end.reason) == (RunState.STOPPED, Reason.GUARDED)
    assert left_alive(study) == []

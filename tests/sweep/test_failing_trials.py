"""Trials over the stand-in trainer that go wrong in every way: who is told, what is tried again, and that nothing is left alive."""

from __future__ import annotations

from pathlib import Path
from subprocess import CompletedProcess

import commands
import optuna
import pytest
from commands import QUICK, assert_nothing_left, drill, engine_of, results

from harness import records
from harness.metrics import MetricReader
from harness.paths import AttemptPaths, StudyPaths
from harness.repairs import training_digest
from harness.types import (
    AttemptResult,
    AttemptSpec,
    Failure,
    FailureKind,
    Part,
    Reason,
    RunState,
    TrialSpec,
    TrialState,
)
from sweeps import storage

GRID = ("hydra/sweeper/sampler=grid",)
HELD = ("kl_coef=0.003", "rollout_n=16")
MODES = ("crash", "hang", '"nan"', "silent", "deaf", "forking")
NO_PRUNER = ("hydra/sweeper/pruner=none",)


@pytest.fixture(scope="module")
def misbehaved(tmp_path_factory: pytest.TempPathFactory) -> tuple[CompletedProcess[str], StudyPaths]:
    """One trial of each way to go wrong."""
    folder = tmp_path_factory.mktemp("modes")
    limits = ("limits.silence_s=4", "limits.term_grace_s=0.3", "hydra.sweeper.max_failure_rate=1", "resources.slots=3")
    modes = (f"drill.mode=choice({','.join(MODES)})", "drill.at=0.8", "steps=10", "lr=3e-5", *HELD)
    return drill(folder, *GRID, *NO_PRUNER, *limits, *modes, "study.name=modes"), StudyPaths(folder / "outputs" / "modes")


def of_mode(study: StudyPaths, mode: str) -> int:
    """The number of the trial with that mode."""
    (number,) = [trial.number for trial in study.trials() if records.read(trial.spec, TrialSpec).params["drill.mode"] == mode]
    return number


def attempt_of(study: StudyPaths, mode: str) -> AttemptPaths:
    return study.trial(of_mode(study, mode)).attempt(0)


@pytest.mark.parametrize(
    ("mode", "state", "reason", "message"),
    [
        ("crash", TrialState.FAIL, Reason.CRASHED, "RuntimeError: drill: told to crash"),
        ("hang", TrialState.FAIL, Reason.STALLED, "no metric and no log line for 4 s"),
        ("nan", TrialState.FAIL, Reason.NON_FINITE, "val-core/drill/acc/mean@1 is nan at step 8: the training diverged"),
        (
            "silent",
            TrialState.FAIL,
            Reason.NO_METRIC,
            "objective.metric: no logged metric matches 'val-core/*/acc/mean@1'; seen: none at all",
        ),
        ("deaf", TrialState.FAIL, Reason.STALLED, "no metric and no log line for 4 s"),
        ("forking", TrialState.COMPLETE, Reason.FINISHED, "trained 10 steps"),
    ],
)
def test_a_trial_that_goes_wrong_ends_with_its_reason(
    misbehaved: tuple[CompletedProcess[str], StudyPaths], mode: str, state: TrialState, reason: Reason, message: str
) -> None:
    result = results(misbehaved[1])[of_mode(misbehaved[1], mode)]
    assert (result.state, result.reason, result.message) == (state, reason, message)


def test_other_trials_go_on_beside_those_that_go_wrong(misbehaved: tuple[CompletedProcess[str], StudyPaths]) -> None:
    ran, study = misbehaved
    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(results(study)) == len(MODES)


@pytest.mark.parametrize(("mode", "rungs"), [("hang", ["sigterm"]), ("deaf", ["sigterm", "sigkill"])])
def test_a_stalled_engine_is_ended_rung_by_rung(misbehaved: tuple[CompletedProcess[str], StudyPaths], mode: str, rungs: list[str]) -> None:
    _, study = misbehaved
    attempt = attempt_of(study, mode)
    end = records.read(attempt.result, AttemptResult)
    assert (end.state, end.forced, end.steps) == (RunState.FAILED, True, 7)
    assert [event.name for event in engine_of(study, attempt)] == ["started", "force", *rungs, "ended"]


def test_children_that_got_away_are_ended_with_their_engine(misbehaved: tuple[CompletedProcess[str], StudyPaths]) -> None:
    _, study = misbehaved
    events = {event.name: event.data for event in engine_of(study, attempt_of(study, "forking"))}
    assert events["ended"]["exit_code"] == 0
    assert events["ended"]["killed"] >= 3  # one a step that ignores SIGTERM


def test_nothing_is_left_of_those_that_went_wrong(misbehaved: tuple[CompletedProcess[str], StudyPaths]) -> None:
    assert_nothing_left(misbehaved[1])


def test_a_crashed_trial_is_tried_again_in_another_engine(tmp_path: Path) -> None:
    ran = commands.run("verl-sweep", "experiment=drill", *QUICK, "drill.mode=killed", "limits.attempts=2", "study.name=twice", cwd=tmp_path)
    message = "killed from outside: the engine ended with signal SIGKILL"
    assert (ran.returncode, ran.stderr) == (1, f"verl-sweep: the trial ended as FAIL (crashed): {message}\n")
    (study,) = [StudyPaths(folder) for folder in (tmp_path / "outputs").iterdir()]
    (result,) = results(study).values()
    assert (result.state, result.reason, result.attempts, result.failure) == (TrialState.FAIL, Reason.CRASHED, 2, FailureKind.KILLED)
    first, second = study.trial(0).attempts()
    assert records.read(first.spec, AttemptSpec).run_id == records.read(second.spec, AttemptSpec).run_id
    given = [event.data["engine"] for attempt in (first, second) for event in records.events(attempt.events) if event.name == "given_slot"]
    assert given == [0, 1]
    assert_nothing_left(study)


@pytest.mark.slow
def test_a_trial_that_an_accident_befell_completes_in_its_next_attempt(tmp_path: Path) -> None:
    ran = drill(tmp_path, *NO_PRUNER, "drill.mode=killed_once", "hydra.sweeper.n_trials=2", "study.name=once")
    assert (ran.returncode, ran.stderr) == (0, "")
    study = StudyPaths(tmp_path / "outputs" / "once")
    assert [(result.state, result.attempts, result.failure) for result in results(study).values()] == [(TrialState.COMPLETE, 2, None)] * 2
    assert records.read(study.trial(0).attempt(0).failure, Failure).kind is FailureKind.KILLED


@pytest.mark.slow
def test_an_error_of_the_program_is_not_tried_again(tmp_path: Path) -> None:
    ran = commands.run("verl-sweep", "experiment=drill", *QUICK, "drill.mode=crash", "limits.attempts=3", "study.name=bug", cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (1, "verl-sweep: the trial ended as FAIL (crashed): RuntimeError: drill: told to crash\n")
    study = StudyPaths(tmp_path / "outputs" / "bug")
    assert [(result.attempts, result.failure) for result in results(study).values()] == [(1, FailureKind.ERROR)]
    failure = records.read(study.trial(0).attempt(0).failure, Failure)
    assert failure.lines[0].endswith("in _crash")
    assert failure.lines[1] == "RuntimeError: drill: told to crash"


def test_a_trial_without_gpu_memory_gets_other_throughput_settings_and_no_others(tmp_path: Path) -> None:
    ran = drill(tmp_path, *NO_PRUNER, "drill.mode=gpu_memory", "hydra.sweeper.n_trials=1", "study.name=mended")
    assert (ran.returncode, ran.stderr) == (0, "")
    study = StudyPaths(tmp_path / "outputs" / "mended")
    (result,) = results(study).values()
    assert (result.state, result.attempts) == (TrialState.COMPLETE, 3)
    attempts = study.trial(0).attempts()
    failures = [records.read(attempt.failure, Failure) for attempt in attempts[:2]]
    tokens = "actor_rollout_ref.actor.ppo_max_token_len_per_gpu"
    assert [(failure.kind, failure.part, failure.repair[tokens]) for failure in failures] == [
        (FailureKind.GPU_MEMORY, Part.ACTOR, 8192),
        (FailureKind.GPU_MEMORY, Part.ACTOR, 4096),
    ]
    first, last = (records.read(attempt.spec, AttemptSpec).config for attempt in (attempts[0], attempts[2]))
    assert last["actor_rollout_ref"]["actor"]["ppo_max_token_len_per_gpu"] == 4096
    assert training_digest(first) == training_digest(last)
    said = "trial-0000: out of GPU memory (actor): MemoryError: CUDA out of memory. Tried to allocate 16.00 GiB."
    assert f"{said}; again with {tokens}=8192" in ran.stdout
    shown = commands.run("verl-study", "show", "mended", "0", cwd=tmp_path).stdout
    assert "gpu memory of the actor" in shown
    assert "MemoryError: CUDA out of memory. Tried to allocate 8.00 GiB." in shown
    assert f"again with {tokens}=4096" in shown


def test_only_the_best_trials_checkpoints_stay(tmp_path: Path) -> None:
    ran = drill(tmp_path, "trainer.save_freq=3", "study.name=saved", "hydra.sweeper.n_trials=6")
    assert (ran.returncode, ran.stderr) == (0, "")
    study = StudyPaths(tmp_path / "outputs" / "saved")
    best = max(
        (result.values[0], number) for number, result in results(study).items() if result.state is TrialState.COMPLETE and result.values
    )
    assert [trial.number for trial in study.trials() if trial.checkpoints.exists()] == [best[1]]
    assert len(results(study)) == 6


def test_the_next_attempt_goes_on_from_the_last_checkpoint_and_the_curve_is_that_of_one_training(tmp_path: Path) -> None:
    same = (*NO_PRUNER, "hydra.sweeper.n_trials=1", "trainer.save_freq=3", "steps=12")
    ran = drill(tmp_path, *same, "study.name=once")
    broken = drill(tmp_path, *same, "study.name=twice", "drill.mode=killed_once", "drill.at=0.7")
    assert (ran.returncode, broken.returncode, broken.stderr) == (0, 0, "")
    whole, stitched = (StudyPaths(tmp_path / "outputs" / name) for name in ("once", "twice"))
    steps = [[point.step for point in MetricReader(attempt.metrics).new_points()] for attempt in stitched.trial(0).attempts()]
    assert steps == [[1, 2, 3, 4, 5, 6, 7, 8], [7, 8, 9, 10, 11, 12]]
    told = [optuna.load_study(study_name=study.name, storage=storage.journal(study.journal)).trials[0] for study in (whole, stitched)]
    assert told[0].intermediate_values == told[1].intermediate_values
    assert results(whole)[0].values == results(stitched)[0].values


def test_a_study_whose_first_trials_fail_alike_ends_with_one_sentence(tmp_path: Path) -> None:
    ran = drill(tmp_path, "study.name=vain", "drill.mode=crash", "resources.slots=1", "hydra.sweeper.n_trials=20")
    assert (ran.returncode, ran.stderr) == (
        1,
        "verl-sweep: the first 3 trials failed alike, and so would the others; trial 2: RuntimeError: drill: told to crash; "
        "its log: verl-study logs vain 2\n",
    )
    assert len(results(StudyPaths(tmp_path / "outputs" / "vain"))) == 3


def test_more_failures_than_allowed_are_one_sentence_and_exit_status_1(tmp_path: Path) -> None:
    options = ("hydra.sweeper.max_failure_rate=0", "resources.slots=1", "study.name=failing", "drill.mode=crash")
    ran = drill(tmp_path, *options)
    assert ran.returncode == 1
    assert ran.stderr == (
        "verl-sweep: 1 of 12 trials failed, more than max_failure_rate=0 allows; trial 0: RuntimeError: drill: told to crash; "
        "its log: verl-study logs failing 0\n"
    )
    assert_nothing_left(StudyPaths(tmp_path / "outputs" / "failing"))

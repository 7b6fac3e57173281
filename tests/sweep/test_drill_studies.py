"""Whole studies over the stand-in trainer, as real processes: what a user sees, what is on disk, and what is left alive (nothing)."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from subprocess import CompletedProcess

import commands
import optuna
import pytest
import yaml
from commands import QUICK, drill, engine_specs, left_alive, results

from harness import records
from harness.metrics import MetricReader
from harness.paths import AttemptPaths, StudyPaths
from harness.repairs import training_digest
from harness.status import load_study
from harness.trial_status import INTERRUPTED
from harness.types import (
    AttemptResult,
    AttemptSpec,
    EngineSpec,
    Event,
    Failure,
    FailureKind,
    Part,
    Reason,
    RunState,
    StudyRecord,
    TrialSpec,
    TrialState,
)
from sweeps import storage

STRONG, WEAK = ("3e-5", "2e-5"), ("1e-6", "2e-6")  # learning rates whose curves lie far apart
WARM_UP = 30  # steps before the pruner looks
GRID = ("hydra/sweeper/sampler=grid",)
HELD = ("kl_coef=0.003", "rollout_n=16")
MODES = ("crash", "hang", '"nan"', "silent", "deaf", "forking")
NO_PRUNER = ("hydra/sweeper/pruner=none",)


@pytest.fixture(scope="module")
def pruned_command() -> tuple[str, ...]:
    """Three points of four; the pruner's bound lies between the strong and the weak ones."""
    pruner = ("hydra/sweeper/pruner=threshold", "hydra.sweeper.pruner.lower=0.3")
    space = (f"lr=choice({','.join(STRONG + WEAK)})", *HELD)
    pace = ("drill.startup_s=0", "drill.step_s=0.04", "steps=60", f"hydra.sweeper.pruner.n_warmup_steps={WARM_UP}")
    return (*GRID, *pruner, *pace, *space, "hydra.sweeper.n_trials=3", "study.name=pruned")


@pytest.fixture(scope="module")
def pruned_study(tmp_path_factory: pytest.TempPathFactory, pruned_command: Sequence[str]) -> tuple[CompletedProcess[str], StudyPaths]:
    folder = tmp_path_factory.mktemp("pruned")
    return drill(folder, *pruned_command, quick=False), StudyPaths(folder / "outputs" / "pruned")


@pytest.fixture(scope="module")
def misbehaved(tmp_path_factory: pytest.TempPathFactory) -> tuple[CompletedProcess[str], StudyPaths]:
    """One trial of each way to go wrong."""
    folder = tmp_path_factory.mktemp("modes")
    limits = ("limits.silence_s=4", "limits.term_grace_s=0.3", "hydra.sweeper.max_failure_rate=1", "resources.slots=3")
    modes = (f"drill.mode=choice({','.join(MODES)})", "drill.at=0.8", "steps=10", "lr=3e-5", *HELD)
    return drill(folder, *GRID, *NO_PRUNER, *limits, *modes, "study.name=modes"), StudyPaths(folder / "outputs" / "modes")


@pytest.fixture
def copied(pruned_study: tuple[CompletedProcess[str], StudyPaths], tmp_path: Path) -> StudyPaths:
    """The pruned study in another folder, to be changed."""
    shutil.copytree(pruned_study[1].root, tmp_path / "outputs" / "pruned")
    return StudyPaths(tmp_path / "outputs" / "pruned")


def of_mode(study: StudyPaths, mode: str) -> int:
    """The number of the trial with that mode."""
    (number,) = [trial.number for trial in study.trials() if records.read(trial.spec, TrialSpec).params["drill.mode"] == mode]
    return number


def attempt_of(study: StudyPaths, mode: str) -> AttemptPaths:
    return study.trial(of_mode(study, mode)).attempt(0)


def engine_of(study: StudyPaths, attempt: AttemptPaths) -> list[Event]:
    """What happened to the engine that served an attempt."""
    (given,) = [event for event in records.events(attempt.events) if event.name == "given_slot"]
    return list(records.events(study.engine(given.data["engine"]).events))


def steps_logged(attempt: AttemptPaths) -> list[int]:
    return [point.step for point in MetricReader(attempt.metrics).new_points()]


def opened(study: StudyPaths) -> optuna.Study:
    return optuna.load_study(study_name=study.name, storage=storage.journal(study.journal))


def assert_nothing_left(study: StudyPaths) -> None:
    assert left_alive(study) == []
    assert [spec.scratch for spec in engine_specs(study) if Path(spec.scratch).exists()] == []


# --- a study that goes well ------------------------------------------------------------------------------------------------------------


def test_a_study_ends_well_and_says_what_is_best(pruned_study: tuple[CompletedProcess[str], StudyPaths]) -> None:
    ran, study = pruned_study
    assert (ran.returncode, ran.stderr) == (0, "")
    best = yaml.safe_load(study.results.read_text())
    assert f"{best['best_params']['lr']:g}" in {f"{float(lr):g}" for lr in STRONG}
    assert f"Best trial {max(results(study).values(), key=lambda result: result.values or (0,)).number} of 3 in pruned" in ran.stdout


def test_strong_trials_complete_and_weak_ones_are_pruned(pruned_study: tuple[CompletedProcess[str], StudyPaths]) -> None:
    _, study = pruned_study
    for number, result in results(study).items():
        strong = records.read(study.trial(number).spec, TrialSpec).params["lr"] in map(float, STRONG)
        assert (result.state, result.reason) == ((TrialState.COMPLETE, Reason.FINISHED) if strong else (TrialState.PRUNED, Reason.PRUNED))
        assert result.steps == 60 if strong else WARM_UP <= result.steps < 60
    assert {result.state for result in results(study).values()} == {TrialState.COMPLETE, TrialState.PRUNED}


def test_a_pruned_trial_stops_by_itself_at_a_step_boundary(pruned_study: tuple[CompletedProcess[str], StudyPaths]) -> None:
    _, study = pruned_study
    for number, result in results(study).items():
        if result.state is TrialState.PRUNED:
            attempt = study.trial(number).attempt(0)
            end = records.read(attempt.result, AttemptResult)
            assert (end.state, end.forced) == (RunState.STOPPED, False)
            assert end.steps == steps_logged(attempt)[-1] == result.steps
            assert [event.name for event in engine_of(study, attempt)] == ["started", "ended"]


def test_a_freed_slot_is_given_to_the_next_trial(pruned_study: tuple[CompletedProcess[str], StudyPaths]) -> None:
    """By the engine that has it already; no slot stands empty, and none is given twice."""
    _, study = pruned_study
    by_slot: dict[str, list[tuple[float, float]]] = {}
    for number in results(study):
        attempt = study.trial(number).attempt(0)
        given = next(event for event in records.events(attempt.events) if event.name == "given_slot")
        by_slot.setdefault(given.data["slot"], []).append((given.at, records.read(attempt.result, AttemptResult).ended_at))
    assert sorted(len(attempts) for attempts in by_slot.values()) == [1, 2]
    for attempts in by_slot.values():
        assert all(end <= begin for (_, end), (begin, _) in pairwise(sorted(attempts)))
    assert {len(list(engine.inbox.iterdir())) for engine in study.engines()} == {1, 2}


def test_the_records_are_complete_and_agree_with_optuna(pruned_study: tuple[CompletedProcess[str], StudyPaths]) -> None:
    _, study = pruned_study
    record = records.read(study.record, StudyRecord)
    assert (record.n_trials, record.knobs, record.total_steps, record.defaults) == (3, ("lr",), 60, {"lr": 1e-6})
    told = opened(study).trials
    assert len(told) == 3
    for trial in told:
        paths = study.trial(trial.number)
        spec, result = records.read(paths.spec, TrialSpec), results(study)[trial.number]
        assert (dict(spec.params), result.state.value) == (trial.params, trial.state.name)
        assert (trial.user_attrs.get("reason", "finished"), trial.user_attrs.get("message", "")) == (result.reason.value, result.message)
        assert set(trial.intermediate_values) <= set(steps_logged(paths.attempt(0)))
        assert yaml.safe_load((paths.hydra / "overrides.yaml").read_text()) == list(spec.overrides)
        assert yaml.safe_load((paths.hydra / "config.yaml").read_text())["lr"] == spec.params["lr"]
        attempt = records.read(paths.attempt(0).spec, AttemptSpec)
        assert attempt.config["actor_rollout_ref"]["actor"]["optim"]["lr"] == spec.params["lr"]
        assert [event.name for event in records.events(paths.attempt(0).events)] == ["given_slot", "accepted", "training"]
        if result.values is not None:
            assert result.values == tuple(trial.values)


def test_nothing_is_left_of_a_study_that_went_well(pruned_study: tuple[CompletedProcess[str], StudyPaths]) -> None:
    assert_nothing_left(pruned_study[1])


def test_the_same_command_again_runs_nothing_more_and_more_trials_go_on_to_the_new_total(
    copied: StudyPaths, pruned_command: Sequence[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in copied.root.rglob("*") if "trial-" in str(path) or "engine-" in str(path)}
    again = drill(copied.root.parents[1], *pruned_command, quick=False)
    assert (again.returncode, again.stderr) == (0, "")
    assert before == {path: path.stat().st_mtime_ns for path in copied.root.rglob("*") if "trial-" in str(path) or "engine-" in str(path)}
    assert "Best trial" in again.stdout

    more = drill(copied.root.parents[1], *pruned_command[:-2], "hydra.sweeper.n_trials=4", "study.name=pruned", quick=False)
    assert (more.returncode, more.stderr) == (0, "")
    assert sorted(results(copied)) == [0, 1, 2, 3]
    assert len({trial.params["lr"] for trial in opened(copied).trials}) == 4
    assert records.read(copied.record, StudyRecord).n_trials == 4


# --- trials that go wrong --------------------------------------------------------------------------------------------------------------


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


def test_a_trial_that_an_accident_befell_completes_in_its_next_attempt(tmp_path: Path) -> None:
    ran = drill(tmp_path, *NO_PRUNER, "drill.mode=killed_once", "hydra.sweeper.n_trials=2", "study.name=once")
    assert (ran.returncode, ran.stderr) == (0, "")
    study = StudyPaths(tmp_path / "outputs" / "once")
    assert [(result.state, result.attempts, result.failure) for result in results(study).values()] == [(TrialState.COMPLETE, 2, None)] * 2
    assert records.read(study.trial(0).attempt(0).failure, Failure).kind is FailureKind.KILLED


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


# --- other ways to run -----------------------------------------------------------------------------------------------------------------


def test_one_trial_alone_prints_its_value(tmp_path: Path) -> None:
    ran = commands.run("verl-sweep", "experiment=drill", *QUICK, "lr=3e-5", "study.name=alone", cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    (study,) = [StudyPaths(folder) for folder in (tmp_path / "outputs").iterdir()]
    (result,) = results(study).values()
    assert result.values is not None
    assert f"{result.values[0]:.4g}" in ran.stdout
    assert_nothing_left(study)


def test_one_engine_serves_several_trials_that_differ_in_hot_knobs_only(tmp_path: Path) -> None:
    ran = drill(
        tmp_path, *NO_PRUNER, "rollout_n=16", "engine.attempts=3", "resources.slots=1", "hydra.sweeper.n_trials=4", "study.name=reused"
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    study = StudyPaths(tmp_path / "outputs" / "reused")
    assert [len(list(engine.inbox.iterdir())) for engine in study.engines()] == [3, 1]
    assert {result.state for result in results(study).values()} == {TrialState.COMPLETE}
    assert_nothing_left(study)


def test_without_reuse_every_trial_starts_an_engine(tmp_path: Path) -> None:
    ran = drill(tmp_path, *NO_PRUNER, "rollout_n=16", "engine.reuse=never", "hydra.sweeper.n_trials=3", "study.name=cold")
    assert (ran.returncode, ran.stderr) == (0, "")
    study = StudyPaths(tmp_path / "outputs" / "cold")
    assert [len(list(engine.inbox.iterdir())) for engine in study.engines()] == [1, 1, 1]


def test_trials_of_other_structure_find_their_own_engine(tmp_path: Path) -> None:
    """Two slots, two structures by turns: each slot starts one engine."""
    options = (*NO_PRUNER, "rollout_n=16", "lr=3e-5", "kl_coef=1e-3", "drill.source=choice(a,b)", "seed=choice(1,2,3)")
    grid = ("hydra/sweeper/sampler=grid", "study.name=mixed", "objective.metric=val-core/*")
    ran = drill(tmp_path, *options, *grid, "hydra.sweeper.n_trials=6")
    assert (ran.returncode, ran.stderr) == (0, "")
    study = StudyPaths(tmp_path / "outputs" / "mixed")
    structures = [records.read(engine.command, EngineSpec).fingerprint for engine in study.engines()]
    assert len(set(structures)) == 2
    assert sum(len(list(engine.inbox.iterdir())) for engine in study.engines()) == 6
    assert len(structures) < 6


@pytest.mark.slow
def test_with_standby_the_engine_of_another_structure_starts_beside_the_one_that_trains(tmp_path: Path) -> None:
    """One slot, two structures by turns: two engines, and every trial but the first finds one that runs."""
    options = (*NO_PRUNER, "rollout_n=16", "lr=3e-5", "kl_coef=1e-3", "drill.source=choice(a,b)", "seed=choice(1,2,3)", "resources.slots=1")
    grid = ("hydra/sweeper/sampler=grid", "study.name=standby", "objective.metric=val-core/*", "hydra.sweeper.n_trials=6")
    ran = drill(tmp_path, *options, *grid, "engine.standby=true", "drill.step_s=0.1", "drill.startup_s=0.5", quick=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    study = StudyPaths(tmp_path / "outputs" / "standby")
    assert "engine-1 starts beside engine-0 on cpu:0, to stand by for other trials" in ran.stdout
    specs = [records.read(engine.command, EngineSpec) for engine in study.engines()]
    assert len({spec.fingerprint for spec in specs}) == len(specs) == 2
    assert [result.warm for result in results(study).values()] == [False, True, True, True, True, True]
    warm_up = records.read(study.engine(1).warm_up.result, AttemptResult)
    assert (warm_up.state, warm_up.steps) == (RunState.SUCCEEDED, 0)
    assert_nothing_left(study)


@pytest.mark.slow
def test_a_standby_that_cannot_start_is_said_and_changes_nothing_else(tmp_path: Path) -> None:
    options = (*NO_PRUNER, "rollout_n=16", "lr=3e-5", "kl_coef=1e-3", "drill.source=choice(a,b)", "seed=choice(1,2)", "resources.slots=1")
    grid = ("hydra/sweeper/sampler=grid", "study.name=unready", "objective.metric=val-core/*", "hydra.sweeper.n_trials=4")
    ran = drill(tmp_path, *options, *grid, "engine.standby=true", "drill.mode=unready", "drill.step_s=0.1", quick=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    study = StudyPaths(tmp_path / "outputs" / "unready")
    assert ran.stdout.count("starts beside") == 1
    assert "engine-1 could not stand by (RuntimeError: drill: told not to get ready); no other will" in ran.stdout
    assert {result.state for result in results(study).values()} == {TrialState.COMPLETE}
    assert_nothing_left(study)


def test_an_engine_that_does_not_trust_itself_is_replaced_and_the_trial_is_run_again(tmp_path: Path) -> None:
    """Whatever `limits.attempts` says: the trial has done nothing wrong."""
    ran = drill(
        tmp_path,
        *NO_PRUNER,
        "drill.mode=untrusted",
        "resources.slots=1",
        "limits.attempts=1",
        "hydra.sweeper.n_trials=3",
        "study.name=doubt",
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    study = StudyPaths(tmp_path / "outputs" / "doubt")
    assert {result.state for result in results(study).values()} == {TrialState.COMPLETE}
    assert [result.attempts for result in results(study).values()] == [1, 2, 2]
    first, again = (records.read(study.trial(1).attempt(number).result, AttemptResult) for number in (0, 1))
    assert (first.reason, again.reason) == (Reason.UNTRUSTED, Reason.FINISHED)
    assert_nothing_left(study)


def test_a_study_of_two_objectives_leaves_its_pareto_front(tmp_path: Path) -> None:
    objectives = ('objective.metric=["val-core/*/acc/mean@1","response_length/mean"]', "objective.direction=[maximize,minimize]")
    ran = drill(tmp_path, *objectives, "hydra.sweeper.n_trials=2", "study.name=two")
    assert (ran.returncode, ran.stderr) == (0, "")
    study = StudyPaths(tmp_path / "outputs" / "two")
    assert all(result.values is not None and len(result.values) == 2 for result in results(study).values())
    front = yaml.safe_load(study.results.read_text())["solutions"]
    assert {json.dumps(point) for point in front} <= {
        json.dumps({"params": dict(trial.params), "values": list(trial.values)}) for trial in opened(study).trials
    }
    assert opened(study).metric_names == ["val-core/*/acc/mean@1", "response_length/mean"]


# --- signals ---------------------------------------------------------------------------------------------------------------------------

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


# --- the study's storage ---------------------------------------------------------------------------------------------------------------


def test_a_study_whose_journal_is_gone_is_refused_rather_than_begun_again(copied: StudyPaths, pruned_command: Sequence[str]) -> None:
    copied.journal.unlink()
    before = sorted(copied.root.rglob("*"))
    ran = drill(copied.root.parents[1], *pruned_command, quick=False)
    assert ran.returncode == 2
    assert "outputs/pruned holds 3 trials that its storage knows nothing of; restore journal.log" in ran.stderr
    assert [path for path in sorted(copied.root.rglob("*")) if path.name not in ("journal.log", "controller.lock")] == [
        path for path in before if path.name != "controller.lock"
    ]


def test_a_study_whose_journal_was_torn_goes_on(copied: StudyPaths, pruned_command: Sequence[str]) -> None:
    """The torn line is the last trial's telling: its result is on disk, and is told again."""
    data = copied.journal.read_bytes()
    copied.journal.write_bytes(data[:-7])
    ran = drill(copied.root.parents[1], *pruned_command, quick=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [trial.state.name for trial in opened(copied).trials] == [result.state.value for result in results(copied).values()]
    assert len(list(copied.root.glob("journal.log.damaged-*"))) == 1

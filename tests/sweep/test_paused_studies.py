"""Trials that pause at a rung and go on later from their checkpoint, as real processes; the stand-in trainer trains."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

import commands
import optuna
import pytest
from commands import drill, left_alive, results

from harness import records
from harness.metrics import MetricReader
from harness.paths import StudyPaths
from harness.status import load_study
from harness.types import AttemptResult, Reason, Role, StudyRecord, TrialSpec, TrialState
from sweeps import storage
from sweeps.plans.build import build_plan, refuse_for_tasks
from sweeps.plans.course import GOAL
from sweeps.plans.plan import CONFIRMATION

STEPS, BUDGET = 20, 10
STUDY = (
    "experiment=drill",
    "hydra/sweeper/plan=halving",
    "hydra/sweeper/sampler=surrogate",
    "hydra/sweeper/pruner=none",
    "drill.startup_s=0",
    f"steps={STEPS}",
    f"hydra.sweeper.n_trials={BUDGET}",
    "study.name=paused",
)
PACE = "drill.step_s=0.2"  # an engine hears that it is to pause within a step or two
FAST = "drill.step_s=0.05"


def paused_attempts(study: StudyPaths) -> list[tuple[int, int]]:
    """Trial and attempt of each that ended in a pause."""
    attempts = [attempt for trial in study.trials() for attempt in trial.attempts()]
    found = [(attempt, records.read_if_there(attempt.result, AttemptResult)) for attempt in attempts]
    return [(attempt.trial.number, attempt.number) for attempt, result in found if result is not None and result.reason is Reason.PAUSED]


def steps(study: StudyPaths, trial: int) -> list[int]:
    """As they were trained, attempt after attempt."""
    return [point.step for attempt in study.trial(trial).attempts() for point in MetricReader(attempt.metrics).new_points()]


def told(study: StudyPaths) -> Sequence[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=study.name, storage=storage.journal(study.journal)).trials


def assert_well_ended(study: StudyPaths) -> None:
    """Everything was told, and no step of any trial was trained twice or left out."""
    assert all(trial.state.is_finished() for trial in told(study))
    assert set(results(study)) == {trial.number for trial in told(study)}
    assert all(steps(study, trial) == list(range(1, len(steps(study, trial)) + 1)) for trial in results(study))
    assert left_alive(study) == []
    assert records.read(study.record, StudyRecord).finished


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, StudyPaths]:
    folder = tmp_path_factory.mktemp("undisturbed")
    ran = commands.run("verl-sweep", "-m", *STUDY, PACE, cwd=folder)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout, StudyPaths(folder / "outputs" / "paused")


def test_a_paused_trial_goes_on_from_its_checkpoint_and_none_is_left_waiting(undisturbed: tuple[str, StudyPaths]) -> None:
    _, study = undisturbed
    assert_well_ended(study)
    again = {trial for trial, attempt in paused_attempts(study) if len(study.trial(trial).attempts()) > attempt + 1}
    assert again
    for trial in again:
        assert results(study)[trial].restores == len(study.trial(trial).attempts()) - 1
        assert told(study)[trial].user_attrs[GOAL][1] == results(study)[trial].restores


def test_who_stays_behind_says_where_it_stood_and_keeps_no_checkpoint(undisturbed: tuple[str, StudyPaths]) -> None:
    _, study = undisturbed
    behind = {number: result for number, result in results(study).items() if result.state is TrialState.PRUNED}
    assert behind
    for number, result in behind.items():
        assert result.message.startswith("paused at step ")
        assert (result.steps, result.seconds > 0, result.slot is not None) == (len(steps(study, number)), True, True)
    assert len([trial for trial in study.trials() if trial.checkpoints.exists()]) <= 1


def test_replicates_have_their_configurations_point_another_seed_and_a_role(undisturbed: tuple[str, StudyPaths]) -> None:
    _, study = undisturbed
    specs = [records.read(trial.spec, TrialSpec) for trial in study.trials()]
    first = {spec.configuration: spec for spec in specs if spec.role is Role.TUNING}
    confirming = [spec for spec in specs if spec.role is Role.CONFIRMATION]
    assert confirming
    for spec in confirming:
        assert spec.params == first[spec.configuration].params
        assert spec.seed == CONFIRMATION + first[spec.configuration].seed
        assert spec.overrides == (*first[spec.configuration].overrides, f"seed={spec.seed}")


def test_the_cost_is_shown_in_full_runs_and_is_what_was_asked_for(undisturbed: tuple[str, StudyPaths]) -> None:
    said, study = undisturbed
    status = load_study(study)
    trained = sum(len(steps(study, trial)) for trial in results(study)) / STEPS
    restored = 0.02 * sum(result.restores for result in results(study).values())
    assert status.full_runs == pytest.approx(trained + restored)
    assert status.full_runs > BUDGET / 2
    assert status.ended
    shown = commands.run("verl-study", "list", cwd=study.root.parent.parent)
    assert f"{status.full_runs:.1f}/{BUDGET} full runs" in " ".join(shown.stdout.split())
    assert ": paused until it is among the best that have come so far" in said


@pytest.mark.slow
def test_a_controller_that_is_killed_while_trials_are_paused_is_followed_by_one_that_goes_on(tmp_path: Path) -> None:
    study = StudyPaths(tmp_path / "outputs" / "paused")
    for pauses in (2, 4):
        controller = commands.start("verl-sweep", "-m", *STUDY, PACE, cwd=tmp_path)
        commands.wait_until(lambda pauses=pauses: len(paused_attempts(study)) >= pauses, meanwhile=[controller])
        controller.kill()
        controller.communicate()
    ran = commands.run("verl-sweep", "-m", *STUDY, PACE, cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert_well_ended(study)


@pytest.mark.slow
def test_an_interrupted_study_keeps_its_paused_trials_for_the_next_launch(tmp_path: Path) -> None:
    study = StudyPaths(tmp_path / "outputs" / "paused")
    controller = commands.start("verl-sweep", "-m", *STUDY, PACE, cwd=tmp_path)
    commands.wait_until(lambda: len(paused_attempts(study)) >= 2, meanwhile=[controller])
    controller.send_signal(signal.SIGTERM)
    controller.communicate(timeout=commands.TIMEOUT_S)
    assert controller.returncode == 130
    status = load_study(study)
    waiting = [trial for trial in status.trials if trial.state is TrialState.WAITING and trial.reason is Reason.PAUSED]
    assert waiting
    assert all(study.trial(trial.number).checkpoints.exists() for trial in waiting)
    assert not status.ended
    ran = commands.run("verl-sweep", "-m", *STUDY, PACE, cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert_well_ended(study)


@pytest.mark.slow
def test_where_checkpoints_have_no_room_paused_trials_are_given_up(tmp_path: Path) -> None:
    ran = drill(tmp_path, *STUDY[1:], "checkpoints.cap_gib=1e-9", FAST, quick=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    study = StudyPaths(tmp_path / "outputs" / "paused")
    assert_well_ended(study)
    assert any("its checkpoint had to make room (checkpoints.cap_gib)" in result.message for result in results(study).values())
    assert all(result.attempts == 1 for result in results(study).values())


@pytest.mark.slow
def test_without_pauses_no_checkpoint_is_made(tmp_path: Path) -> None:
    same = [option for option in STUDY[1:] if not option.startswith("hydra/sweeper/plan=")]
    ran = drill(tmp_path, *same, "hydra/sweeper/plan=halving_stop", FAST, quick=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    study = StudyPaths(tmp_path / "outputs" / "paused")
    assert_well_ended(study)
    assert not any(trial.checkpoints.exists() for trial in study.trials())
    assert any("not among the best that have come so far" in result.message for result in results(study).values())


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(("hydra/sweeper/plan=fixed_seeds", "hydra.sweeper.plan.seeds=2"), marks=pytest.mark.slow),
        pytest.param(("hydra/sweeper/plan=racing", "hydra.sweeper.plan.contenders=2"), marks=pytest.mark.slow),
        pytest.param(
            ("hydra/sweeper/plan=confirmation", "hydra.sweeper.plan.configurations=2", "hydra.sweeper.plan.seeds=1"), marks=pytest.mark.slow
        ),
    ],
    ids=lambda plan: plan[0].partition("=")[2],
)
def test_the_other_plans_run_a_study_of_processes(tmp_path: Path, plan: tuple[str, ...]) -> None:
    ran = drill(tmp_path, "hydra/sweeper/pruner=none", "hydra.sweeper.n_trials=6", "study.name=paused", "steps=10", *plan)
    assert (ran.returncode, ran.stderr) == (0, "")
    study = StudyPaths(tmp_path / "outputs" / "paused")
    assert_well_ended(study)
    assert 5 <= len(told(study)) <= 6
    assert {Role.TUNING} < {records.read(trial.spec, TrialSpec).role for trial in study.trials()}


def test_a_plain_task_function_has_no_plan_but_once() -> None:
    with pytest.raises(ValueError, match="the plan FixedSeeds is for verl trials"):
        refuse_for_tasks(build_plan({"_target_": "sweeps.plans.fixed_seeds.FixedSeeds", "seeds": 2}))

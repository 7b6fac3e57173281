"""A scheduler's SIGTERM costs a real verl trial nothing: it goes on from its last step, as if it had never been interrupted."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from pathlib import Path

import commands
import pytest
from commands import results
from verl_rig import RigAttempt, wandb_steps

from harness import checkpoints, records
from harness.paths import StudyPaths
from harness.types import AttemptResult, AttemptSpec, Reason, RunState, TrialState

pytestmark = [pytest.mark.verl, pytest.mark.slow, pytest.mark.timeout(900)]

STUDY = (
    "-m",
    "experiment=demo",
    "hydra/sweeper/plan=once",
    "study.name=preempted",
    "steps=9",
    "lr=choice(3e-4,1e-3)",
    "kl_coef=0.001",
    "rollout_n=2",
    "hydra/sweeper/sampler=grid",
    "hydra/sweeper/pruner=none",
)
FIRST_STEPS = 4  # validation is every third step: not at this one, and an uninterrupted trial would not validate there


@dataclass(frozen=True, kw_only=True)
class Preempted:
    study: StudyPaths
    status: int  # of the controller that was preempted
    said: str
    stopped_s: float  # from the signal to its end
    waiting: AttemptResult
    checkpoint: list[int]
    undisturbed: StudyPaths


@pytest.fixture(scope="module")
def preempted(tmp_path_factory: pytest.TempPathFactory) -> Preempted:
    folder = tmp_path_factory.mktemp("preempted")
    study = StudyPaths(folder / "outputs" / "preempted")
    attempt = study.trial(0).attempt(0)
    controller = commands.start("verl-sweep", *STUDY, cwd=folder)
    commands.wait_until(lambda: FIRST_STEPS in RigAttempt(attempt).rows(), meanwhile=[controller], patience_s=300)
    controller.send_signal(signal.SIGTERM)
    began = time.monotonic()
    out, err = controller.communicate(timeout=120)
    stopped_s = time.monotonic() - began
    assert study.record.exists(), err
    waiting = records.read(attempt.result, AttemptResult)
    checkpoint = [found.step for found in checkpoints.complete(study.trial(0).checkpoints)]
    resumed = commands.run("verl-study", "resume", "preempted", cwd=folder, timeout_s=400)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    elsewhere = tmp_path_factory.mktemp("undisturbed")
    done = commands.run("verl-sweep", *STUDY, cwd=elsewhere, timeout_s=400)
    assert done.returncode == 0, done.stdout + done.stderr
    print(f"stopped {stopped_s:.1f} s after SIGTERM, at step {waiting.steps}")
    return Preempted(
        study=study,
        status=controller.returncode,
        said=out + err,
        stopped_s=stopped_s,
        waiting=waiting,
        checkpoint=checkpoint,
        undisturbed=StudyPaths(elsewhere / "outputs" / "preempted"),
    )


def rows(study: StudyPaths, trial: int) -> list[tuple[int, dict[str, float]]]:
    """Of all its attempts, in the order in which they were logged."""
    return [row for attempt in study.trial(trial).attempts() for row in RigAttempt(attempt).training().items()]


def test_the_trial_stops_at_its_next_step_with_a_checkpoint_that_nobody_had_asked_for(preempted: Preempted) -> None:
    assert (preempted.waiting.state, preempted.waiting.reason, preempted.waiting.forced) == (RunState.STOPPED, Reason.INTERRUPTED, False)
    assert FIRST_STEPS <= preempted.waiting.steps < 9
    assert preempted.checkpoint == [preempted.waiting.steps]


def test_the_study_says_that_it_can_go_on(preempted: Preempted) -> None:
    assert preempted.status == 130
    assert "SIGTERM: interrupted; the same command goes on with the study" in preempted.said
    assert "Traceback" not in preempted.said


def test_it_goes_on_in_a_second_attempt_of_the_same_trial_and_the_same_run(preempted: Preempted) -> None:
    told = results(preempted.study)
    assert [(result.state, result.attempts, result.steps) for result in told.values()] == [(TrialState.COMPLETE, n, 9) for n in (2, 1)]
    specs = [records.read(attempt.spec, AttemptSpec) for attempt in preempted.study.trial(0).attempts()]
    assert len(specs) == 2
    assert len({spec.run_id for spec in specs}) == 1
    runs = [run for attempt in preempted.study.trial(0).attempts() for run in attempt.wandb_runs]
    assert [run.name.endswith(specs[0].run_id) for run in runs] == [True, True]


def test_its_history_has_no_gap_and_no_double_and_is_that_of_a_trial_that_was_never_interrupted(preempted: Preempted) -> None:
    assert [step for step, _ in rows(preempted.study, 0)] == list(range(10))
    assert rows(preempted.study, 0) == rows(preempted.undisturbed, 0)
    assert rows(preempted.study, 1) == rows(preempted.undisturbed, 1)
    assert [result.values for result in results(preempted.study).values()] == [
        result.values for result in results(preempted.undisturbed).values()
    ]


def test_so_has_its_wandb_run(preempted: Preempted) -> None:
    steps = [step for attempt in preempted.study.trial(0).attempts() for step in wandb_steps(RigAttempt(attempt).wandb_bytes())]
    assert steps == list(range(10))


def test_nothing_is_left_of_its_engines(preempted: Preempted) -> None:
    assert commands.left_alive(preempted.study) == []
    assert not any(Path(spec.scratch).exists() for spec in commands.engine_specs(preempted.study))

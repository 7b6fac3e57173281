"""A real verl trial that its plan paused goes on from its checkpoint, on an engine that has trained another one meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import commands
import pytest
from commands import results
from verl_rig import RigAttempt, wandb_steps

from harness import checkpoints, records
from harness.paths import StudyPaths
from harness.types import AttemptResult, AttemptSpec, Reason, RunState, StudyRecord, TrialState

pytestmark = [pytest.mark.verl, pytest.mark.slow, pytest.mark.timeout(900)]

STEPS, RUNG = 9, 3
STUDY = (
    "-m",
    "experiment=demo",
    "study.name=paused",
    f"steps={STEPS}",
    "lr=choice(3e-4,1e-3)",
    "kl_coef=0.001",
    "rollout_n=2",
    "hydra/sweeper/sampler=grid",
    "hydra/sweeper/pruner=none",
    "resources.slots=1",
    "hydra.sweeper.n_trials=2",
)
PAUSING = ("hydra/sweeper/plan=once", "hydra.sweeper.plan._target_=pausing_plan.AllPause", "+hydra.sweeper.plan.trials=2")
ONCE = ("hydra/sweeper/plan=once",)


@dataclass(frozen=True, kw_only=True)
class Both:
    study: StudyPaths
    undisturbed: StudyPaths


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    studies = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))  # where the plan is
        for plan in ((*PAUSING, f"+hydra.sweeper.plan.step={RUNG}"), ONCE):
            folder = tmp_path_factory.mktemp("paused")
            done = commands.run("verl-sweep", *STUDY, *plan, cwd=folder, timeout_s=500)
            assert done.returncode == 0, done.stdout + done.stderr
            studies.append(StudyPaths(folder / "outputs" / "paused"))
    return Both(study=studies[0], undisturbed=studies[1])


def rows(study: StudyPaths, trial: int) -> list[tuple[int, dict[str, float]]]:
    """Of all its attempts, in the order in which they were logged."""
    return [row for attempt in study.trial(trial).attempts() for row in RigAttempt(attempt).training().items()]


def test_each_trial_paused_with_a_checkpoint_and_had_two_attempts_of_one_engine(both: Both) -> None:
    for trial in both.study.trials():
        first, second = trial.attempts()
        paused = records.read(first.result, AttemptResult)
        assert (paused.state, paused.reason, paused.forced) == (RunState.STOPPED, Reason.PAUSED, False)
        assert RUNG <= paused.steps < STEPS
        assert min(RigAttempt(second).training()) == paused.steps + 1
        assert len({records.read(attempt.spec, AttemptSpec).run_id for attempt in (first, second)}) == 1
    assert len(both.study.engines()) == 1
    told = [(result.state, result.attempts, result.restores, result.steps) for result in results(both.study).values()]
    assert told == [(TrialState.COMPLETE, 2, 1, STEPS)] * 2
    assert records.read(both.study.record, StudyRecord).finished


def test_its_history_is_that_of_a_trial_that_was_never_paused(both: Both) -> None:
    for trial in (0, 1):
        assert [step for step, _ in rows(both.study, trial)] == list(range(STEPS + 1))
        assert rows(both.study, trial) == rows(both.undisturbed, trial)
    assert [result.values for result in results(both.study).values()] == [result.values for result in results(both.undisturbed).values()]


def test_so_has_its_wandb_run(both: Both) -> None:
    for trial in both.study.trials():
        steps = [step for attempt in trial.attempts() for step in wandb_steps(RigAttempt(attempt).wandb_bytes())]
        assert steps == list(range(STEPS + 1))


def test_only_the_best_ones_checkpoints_are_left(both: Both) -> None:
    best = max(results(both.study).values(), key=lambda result: result.values or ())
    assert [trial.number for trial in both.study.trials() if checkpoints.complete(trial.checkpoints)] in ([], [best.number])

"""A guard over a training of real verl: it stops at a step boundary, and its W&B run carries the guard's code."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from commands import results, run
from verl_rig import wandb_records

from harness import records
from harness.paths import AttemptPaths, StudyPaths
from harness.types import AttemptResult, GuardRecord, Reason, RunState, TrialState

pytestmark = [
    pytest.mark.verl,
    pytest.mark.slow,  # tests/sweep/test_guarded_studies.py has the stand-in trainer's
    pytest.mark.timeout(600),
    pytest.mark.skipif(importlib.util.find_spec("verl") is None, reason="needs the cpu extra"),
]

CODE = "any_move"  # of the policy away from its reference: every training that learns is ended by it
SETTINGS = "metric:actor/kl_loss,above:1e-4,own_factor:null,peer_factor:null,patience:3,unless_learning:false,action:stop"
ARGUMENTS = (
    "-m",
    "experiment=demo",
    "hydra/sweeper/plan=once",
    "hydra/sweeper/sampler=grid",
    "lr=choice(1e-3)",
    "kl_coef=0.001",
    "rollout_n=2",
    "steps=200",
    f"+guards.{CODE}={{{SETTINGS}}}",
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyPaths:
    folder = tmp_path_factory.mktemp("guarded")
    done = run("verl-sweep", *ARGUMENTS, "hydra.sweeper.n_trials=1", "study.name=guarded", cwd=folder, timeout_s=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return StudyPaths(folder / "outputs" / "guarded")


@pytest.fixture
def attempt(study: StudyPaths) -> AttemptPaths:
    return study.trial(0).attempt(0)


def test_the_trial_is_pruned_and_its_engine_was_not_forced(study: StudyPaths, attempt: AttemptPaths) -> None:
    ending, told = records.read(attempt.result, AttemptResult), results(study)[0]
    assert (ending.state, ending.reason, ending.forced) == (RunState.STOPPED, Reason.GUARDED, False)
    assert (told.state, told.reason) == (TrialState.PRUNED, Reason.GUARDED)
    assert told.message.startswith(f"{CODE}: actor/kl_loss ")
    assert told.steps < 200


def test_code_and_reason_are_tags_and_summary_of_the_wandb_run(attempt: AttemptPaths) -> None:
    verdict = records.read(attempt.guard, GuardRecord).stop
    assert verdict is not None
    assert verdict.code == CODE
    (folder,) = attempt.wandb_runs
    told = list(wandb_records(next(Path(folder).glob("*.wandb")).read_bytes()))
    tags = [tag for record in told if record.WhichOneof("record_type") == "run" for tag in record.run.tags]
    summary = {
        item.key: item.value_json for record in told if record.WhichOneof("record_type") == "summary" for item in record.summary.update
    }
    assert {"guarded", CODE} <= set(tags)
    assert summary["harness/guards"] == f'"{CODE}"'
    assert summary["harness/reason"] == '"guarded"'

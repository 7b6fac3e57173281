"""Studies of the stand-in trainer whose pruner counts in tokens or GPU-seconds: what each trial had used up is in the storage."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path

import commands
import optuna
import pytest

from harness.metrics import MetricReader
from harness.paths import StudyPaths, TrialPaths
from harness.types import TrialState
from sweeps import storage
from sweeps.pruners.spending import noted

ASHA = ("hydra/sweeper/pruner=asha", "study.name=dear")
TOKENS = "perf/total_num_tokens"


def opened(study: StudyPaths) -> optuna.Study:
    return optuna.load_study(study_name=study.name, storage=storage.journal(study.journal))


def used(trial: TrialPaths, metric: str) -> Mapping[int, float]:
    """Step -> all that was logged up to it, by whichever attempt."""
    of_step = {point.step: point.values[metric] for attempt in trial.attempts() for point in MetricReader(attempt.metrics).new_points()}
    return dict(zip(sorted(of_step), accumulate(of_step[step] for step in sorted(of_step)), strict=True))


def test_what_a_trial_had_used_at_each_report_is_in_the_storage_and_longer_answers_use_more(tmp_path: Path) -> None:
    rungs = ("hydra.sweeper.pruner.resource=tokens", "hydra.sweeper.pruner.n_min_trials=100")  # nobody is stopped
    swept = ("rollout_n=choice(4,32)", "lr=3e-5", "kl_coef=0.003", "hydra/sweeper/sampler=grid", "hydra.sweeper.n_trials=2")
    ran = commands.drill(tmp_path, *ASHA, *rungs, *swept, "steps=60")
    assert (ran.returncode, ran.stderr) == (0, "")
    study = StudyPaths(tmp_path / "outputs" / "dear")
    reached = {}
    for trial in opened(study).trials:
        logged = used(study.trial(trial.number), TOKENS)
        assert noted(trial) == {step: logged[step] for step in trial.intermediate_values}
        reached[trial.params["rollout_n"]] = min(step for step, amount in noted(trial).items() if amount >= 20_000)
    assert reached[32] <= 7 < 45 <= reached[4], "eight times the tokens a step"


@pytest.mark.slow
def test_gpu_seconds_go_on_where_a_trial_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    rungs = ("hydra.sweeper.pruner.resource=gpu_seconds", "hydra.sweeper.pruner.min_resource=1000000", "hydra.sweeper.n_trials=1")
    long = (*ASHA, *rungs, "steps=600", "resources.slots=1", "drill.startup_s=0")
    first = commands.drill(tmp_path, *long, "budget.wall_hours=0.002", quick=False)
    assert first.returncode == 0
    study = StudyPaths(tmp_path / "outputs" / "dear")
    assert 0 < len(noted(opened(study).trials[0])) < 600
    assert commands.drill(tmp_path, *long, "drill.step_s=0.002", quick=False).returncode == 0
    assert commands.results(study)[0].state is TrialState.COMPLETE
    logged = used(study.trial(0), "timing_s/step")
    found = noted(opened(study).trials[0])
    assert len(study.trial(0).attempts()) == 2
    assert set(found) == set(range(1, 601))
    assert found == pytest.approx(logged, abs=2e-3)

"""Which trials of a study over the stand-in trainer share an engine, and other ways to run one."""

from __future__ import annotations

import json
from pathlib import Path

import commands
import pytest
import yaml
from commands import QUICK, assert_nothing_left, drill, opened, results

from harness import records
from harness.paths import StudyPaths
from harness.types import (
    AttemptResult,
    EngineSpec,
    Reason,
    RunState,
    TrialState,
)

NO_PRUNER = ("hydra/sweeper/pruner=none",)
GRID = ("hydra/sweeper/sampler=grid",)
HELD = ("kl_coef=0.003", "rollout_n=16")


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


@pytest.mark.slow
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

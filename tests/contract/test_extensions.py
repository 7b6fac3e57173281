"""A launcher, a tracker, a sampler and a pruner of a user's own: one file and one yaml each, in the user's folder `conf`."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import QUICK, results, run

from harness import records
from harness.paths import StudyPaths
from harness.types import AttemptSpec, Reason, StudyRecord

MODULE = """
import optuna
from harness.launchers.local import LocalEngines
from harness.trackers.none import NoTracker

class MyEngines(LocalEngines):
    def start(self, engine):
        engine.root.joinpath("mine").touch()
        super().start(engine)

class MyTracker(NoTracker):
    def environment(self, trial, attempt, *, run_id):
        return {"MY_RUN": run_id}

class WalkSampler(optuna.samplers.RandomSampler):
    pass

class FivePruner(optuna.pruners.BasePruner):
    def prune(self, study, trial):
        return trial.last_step >= 5
"""
YAMLS = {
    "hydra/launcher/mine.yaml": "defaults:\n  - local\nengines:\n  _target_: mine.MyEngines\n",
    "tracking/mine.yaml": "# @package _global_\ntracking:\n  _target_: mine.MyTracker\n",
    "hydra/sweeper/sampler/walk.yaml": "_target_: mine.WalkSampler\nseed: null\n",
    "hydra/sweeper/pruner/five.yaml": "_target_: mine.FivePruner\n",
}


def test_parts_of_a_users_own_are_one_file_and_one_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(MODULE)
    for name, text in YAMLS.items():
        path = tmp_path / "conf" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    monkeypatch.setenv("PYTHONPATH", ".")  # whose folder `conf` must not hide the project's own
    choices = ("hydra/launcher=mine", "tracking=mine", "hydra/sweeper/sampler=walk", "hydra/sweeper/pruner=five")
    done = run(
        "verl-sweep",
        "--config-dir",
        "conf",
        "-m",
        "experiment=drill",
        *QUICK,
        *choices,
        "hydra.sweeper.n_trials=2",
        "steps=1000",
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    study = StudyPaths(tmp_path / "outputs" / "drill")
    record = records.read(study.record, StudyRecord)
    assert (record.sampler, record.pruner) == ("WalkSampler", "FivePruner")
    assert {result.reason for result in results(study).values()} == {Reason.PRUNED}
    assert all((engine.root / "mine").exists() for engine in study.engines())
    assert "MY_RUN" in records.read(study.trial(0).attempt(0).spec, AttemptSpec).environment

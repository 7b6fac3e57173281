"""W&B's own server, for those who ask for it: VERL_SWEEP_REAL_WANDB=1 and a key, in an account where a study may appear."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest
from commands import drill, run

from harness import records
from harness.paths import StudyPaths
from harness.trackers.trial_run import Told, rows_of

ASKED = "VERL_SWEEP_REAL_WANDB"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(ASKED not in os.environ, reason=f"{ASKED} is not set: W&B's own server was not asked for"),
]


def test_a_study_arrives_at_wandb_and_is_not_told_of_twice(tmp_path: Path) -> None:
    name = f"verl-sweep-test-{secrets.token_hex(3)}"
    done = drill(tmp_path, "hydra.sweeper.n_trials=2", "steps=10", f"study.name={name}")
    assert done.returncode == 0, done.stdout + done.stderr
    study = StudyPaths(tmp_path / "outputs" / name)
    for _ in range(2):
        synced = run("verl-study", "sync", name, cwd=tmp_path, timeout_s=600)
        assert synced.returncode == 0, synced.stdout + synced.stderr
        for trial in study.trials():
            assert records.read(trial.told, Told).rows == len(rows_of(trial))
            trial.told.unlink()  # asked again, W&B says that it has all of it

    import wandb

    for found in wandb.Api().runs(name):
        assert len(list(found.scan_history())) == len(rows_of(study.trial(found.config["trial"])))

"""TensorBoard, MLflow, trackio and SwanLab, told by verl's own tracking; skipped where one is not installed."""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from harness.errors import ConfigError
from harness.paths import StudyPaths
from harness.trackers.base import Preparing, refuse_missing
from harness.trackers.mlflow import MlflowTracker
from harness.trackers.swanlab import SwanlabTracker
from harness.types import Role, TrialSpec

CONF = Path(__file__).parents[2] / "conf" / "tracking"
CLIENT = Path(__file__).parents[1] / "tracking_client.py"
ROWS = 5  # of each attempt


def tracker(name: str) -> Any:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"pip install {name}")
    return instantiate(OmegaConf.load(CONF / f"{name}.yaml")["tracking"])


def spec(number: int) -> TrialSpec:
    point = {"lr": 1e-6 * (number + 1)}
    return TrialSpec(
        study="first", number=number, configuration=f"{number:08x}", params=point, overrides=(), seed=1, created_at=0.0, role=Role.TUNING
    )


def attempt(chosen: Any, study: StudyPaths, trial: int, number: int) -> dict[str, Any]:
    paths = study.trial(trial).attempt(number)
    paths.root.mkdir(parents=True)
    environment = chosen.environment(spec(trial), paths, run_id=f"first-abc123-{trial:04d}")
    return {"experiment": paths.trial.root.name, "environment": environment, "begin": number * ROWS, "rows": ROWS}


def train(name: str, folder: Path, *attempts: dict[str, Any]) -> subprocess.Popen[str]:
    """One engine: a process that logs attempt after attempt."""
    plan = folder / f"plan-{attempts[0]['experiment']}.json"
    plan.write_text(json.dumps(attempts))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")} | {"HOME": str(folder)}
    words = [sys.executable, str(CLIENT), name, str(plan)]
    return subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def logged(name: str, chosen: Any, folder: Path) -> StudyPaths:
    """Three trials on two engines at once; the second trial of one engine has two attempts."""
    study = StudyPaths(folder / "outputs" / "first")
    study.root.mkdir(parents=True)
    if isinstance(chosen, Preparing):
        chosen.prepare(study, lambda words: None)
    one = train(name, folder, attempt(chosen, study, 0, 0), attempt(chosen, study, 1, 0), attempt(chosen, study, 1, 1))
    other = train(name, folder, attempt(chosen, study, 2, 0))
    for process in (one, other):
        said, _ = process.communicate(timeout=240)
        assert process.returncode == 0, said
    return study


def test_tensorboard_shows_each_trial_under_its_name_and_a_later_attempt_in_the_same_curve(tmp_path: Path) -> None:
    study = logged("tensorboard", tracker("tensorboard"), tmp_path)
    read = "import sys; from tensorboard.backend.event_processing.event_accumulator import EventAccumulator as A\n"
    read += "a = A(sys.argv[1]); a.Reload(); print([event.step for event in a.Scalars('val-core/sums/acc/mean@1')])"
    for trial, attempts in ((0, 1), (1, 2), (2, 1)):
        words = [sys.executable, "-c", read, str(study.tensorboard / f"trial-{trial:04d}")]
        ran = subprocess.run(words, capture_output=True, text=True, check=False)
        assert json.loads(ran.stdout) == list(range(attempts * ROWS)), ran.stderr


def test_mlflow_has_every_row_of_engines_that_begin_together_in_the_studys_own_database(tmp_path: Path) -> None:
    study = logged("mlflow", tracker("mlflow"), tmp_path)
    with sqlite3.connect(study.mlflow) as database:
        runs = database.execute(
            "select r.run_uuid, r.name, r.status, e.name from runs r join experiments e using (experiment_id)"
        ).fetchall()
        rows = Counter(run for (run,) in database.execute("select run_uuid from metrics where key = 'val-core/sums/acc/mean_at_1'"))
        tags = {(run, key): value for run, key, value in database.execute("select run_uuid, key, value from tags")}
    database.close()
    names = Counter(name for _, name, _, _ in runs)
    assert names == {"trial-0000": 1, "trial-0001": 2, "trial-0002": 1}
    assert {(status, experiment) for _, _, status, experiment in runs} == {("FINISHED", "first")}
    assert [rows[run] for run, *_ in runs] == [ROWS] * 4
    second = next(run for run, name, *_ in runs if name == "trial-0001" and tags[run, "attempt"] == "1")
    assert [tags[second, key] for key in ("study", "trial", "configuration", "seed", "role")] == ["first", "1", "00000001", "1", "tuning"]
    assert tags[second, "mlflow.note.content"] == "trial 1 of study first: lr=2e-06"


def test_trackio_has_every_row_in_the_studys_own_folder(tmp_path: Path) -> None:
    study = logged("trackio", tracker("trackio"), tmp_path)
    with sqlite3.connect(study.trackio / "first.db") as database:
        rows = dict(database.execute("select run_name, count(*) from metrics group by run_name").fetchall())
    database.close()
    assert rows == {"trial-0000": ROWS, "trial-0001": 2 * ROWS, "trial-0002": ROWS}


def test_swanlab_writes_offline_runs_of_the_trials_ids_and_tags(tmp_path: Path) -> None:
    study = logged("swanlab", tracker("swanlab"), tmp_path)
    for trial, attempts in ((0, 1), (1, 2), (2, 1)):
        runs = [run for number in range(attempts) for run in study.trial(trial).attempt(number).swanlog.glob("run-*")]
        assert [run.name.split("-", 2)[2] for run in runs] == [f"first_abc123_{trial:04d}"] * attempts
        for run in runs:
            (log,) = run.glob("*.swanlab")
            assert f"configuration-{trial:08x}".encode() in log.read_bytes()


def test_a_tracker_without_its_package_is_refused_before_anything_starts() -> None:
    with pytest.raises(
        ConfigError, match=r"verl's logger nothing_like_it needs a package that is not installed: pip install nothing_like_it"
    ):
        refuse_missing(("console", "file", "nothing_like_it"))


def test_a_password_in_the_address_of_mlflow_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"tracking\.uri: a password would be recorded"):
        MlflowTracker(uri="http://me:secret@host:5000", tags={})


def test_mlflows_own_variable_is_left_to_the_engines_that_inherit_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may hold a password, and what is said to an attempt is recorded."""
    chosen, paths = MlflowTracker(uri=None, tags={}), StudyPaths(tmp_path).trial(0).attempt(0)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert chosen.environment(spec(0), paths, run_id="")["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@host:5000")
    assert "MLFLOW_TRACKING_URI" not in chosen.environment(spec(0), paths, run_id="")


def test_an_unknown_mode_of_swanlab_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"tracking\.mode: expected one of offline, local, cloud, disabled, got 'online'"):
        SwanlabTracker(mode="online", workspace=None, tags=())

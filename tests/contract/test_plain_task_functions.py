"""Any Hydra application sweeps with hydra/sweeper=verl_optuna, under Hydra's own launcher in batches and under ours one by one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import commands
import optuna
import pytest
import yaml

APP = """
import os
import time
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig

HERE = Path(__file__).parent


def note(what):
    with (HERE / "diary").open("a") as diary:
        diary.write(f"{what}\\n")


@hydra.main(version_base="1.3", config_path=".", config_name="config")
def main(config):
    number = int(HydraConfig.get().job.num)
    note(f"start {number}")
    if config.task == "slow" and number == 0:
        patience = time.monotonic() + 60
        while not (HERE / "released").exists():
            assert time.monotonic() < patience, "the others waited for this one"
            time.sleep(0.02)
    if config.task == "slow" and number == 3:
        (HERE / "released").touch()
    if config.task == "fails" and number == config.fails:
        raise ValueError(f"boom at x={config.x}")
    if config.task == "goes wrong" and number == 0:
        os._exit(7)
    if config.task == "goes wrong" and number == 1:
        raise ValueError("boom")
    if config.task == "goes wrong" and number == 2:
        return "three"
    note(f"end {number}")
    if config.task == "two":
        return config.x, -config.x
    return (config.x - 2) ** 2 + config.extra


if __name__ == "__main__":
    main()
"""
CONFIG = """
defaults:
  - override hydra/sweeper: verl_optuna
  - _self_
task: plain
fails: 0
x: 0.0
extra: 0
most: 5
hydra:
  sweep:
    dir: multirun
"""
LOCAL = ("hydra/launcher=local", "hydra.launcher.slots=2")


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A folder with an application that this project has never heard of."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "config.yaml").write_text(CONFIG)
    return tmp_path


def sweep(app: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "app.py", "-m", *arguments]
    return subprocess.run(
        argv, cwd=app, env=commands.environment(app), capture_output=True, text=True, timeout=commands.TIMEOUT_S, check=False
    )


def results(app: Path) -> dict[str, Any]:
    read = yaml.safe_load((app / "multirun" / "optimization_results.yaml").read_text())
    assert isinstance(read, dict)
    return read


def diary(app: Path) -> list[str]:
    return (app / "diary").read_text().split("\n")[:-1]


def test_hydras_own_launcher_gets_batches_of_n_jobs(app: Path) -> None:
    ran = sweep(app, "hydra.sweeper.n_trials=5", "hydra.sweeper.n_jobs=2", "x=interval(-5.0,5.0)")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("Launching 2 jobs locally") == 2
    assert ran.stdout.count("Launching 1 jobs locally") == 1
    assert diary(app) == [f"{what} {number}" for number in range(5) for what in ("start", "end")]
    assert sorted(folder.name for folder in (app / "multirun").iterdir() if folder.is_dir()) == ["0", "1", "2", "3", "4"]


def test_a_slow_job_does_not_hold_up_the_fast_ones(app: Path) -> None:
    """Job 0 ends only after job 3 has started: with the slowest of each batch waited for, it never would."""
    ran = sweep(app, *LOCAL, "task=slow", "hydra.sweeper.n_trials=6", "x=interval(-5.0,5.0)")
    assert ran.returncode == 0, ran.stderr
    order = diary(app)
    assert order.index("end 0") > order.index("start 3")
    assert sorted(order) == sorted(f"{what} {number}" for number in range(6) for what in ("start", "end"))


@pytest.mark.parametrize("launcher", [(), LOCAL], ids=["basic", "local"])
def test_the_results_file_names_the_best_point(app: Path, launcher: tuple[str, ...]) -> None:
    ran = sweep(app, *launcher, "hydra/sweeper/sampler=grid", "x=choice(0,1,2,4)", "hydra.sweeper.n_trials=100")
    assert ran.returncode == 0, ran.stderr
    assert results(app) == {"name": "optuna", "best_params": {"x": 2}, "best_value": 0.0}
    assert len(diary(app)) == 2 * 4  # the grid ends the study by itself


def test_several_directions_leave_their_pareto_front(app: Path) -> None:
    arguments = ("task=two", "hydra.sweeper.direction=[minimize,minimize]", "hydra/sweeper/sampler=grid", "x=choice(1,2)")
    ran = sweep(app, *arguments)
    assert ran.returncode == 0, ran.stderr
    solutions = sorted(results(app)["solutions"], key=lambda solution: solution["params"]["x"])
    assert solutions == [{"params": {"x": 1}, "values": [1.0, -1.0]}, {"params": {"x": 2}, "values": [2.0, -2.0]}]


def test_a_failing_job_ends_the_study_with_its_own_exception(app: Path) -> None:
    ran = sweep(app, "task=fails", "fails=1", "hydra.sweeper.n_jobs=1", "hydra/sweeper/sampler=grid", "x=choice(1,2,3)")
    assert ran.returncode == 1
    assert "ValueError: boom at x=" in ran.stderr
    assert "1 of 3 trials failed, more than max_failure_rate=0 allows" in ran.stderr
    assert diary(app) == ["start 0", "end 0", "start 1"]


def test_as_many_jobs_may_fail_as_max_failure_rate_says_each_with_its_reason(app: Path) -> None:
    arguments = (*LOCAL, "hydra.sweeper.max_failure_rate=0.75", "task=goes wrong", "hydra.sweeper.n_trials=4", "x=interval(0.0,1.0)")
    ran = sweep(app, *arguments)
    assert ran.returncode == 0, ran.stderr
    assert "trial 0 FAIL RunFailed: the task's process ended with exit status 7 and no result" in ran.stdout
    assert "trial 1 FAIL ValueError: boom" in ran.stdout
    assert "trial 2 FAIL the task function returned 'three', not one number" in ran.stdout
    assert "trial 3 COMPLETE" in ran.stdout


@pytest.mark.slow
def test_a_named_study_in_sqlite_goes_on_with_new_points(app: Path) -> None:
    url = f"sqlite:///{app}/study.db"
    arguments = (f"hydra.sweeper.storage={url}", "hydra.sweeper.study_name=kl", "hydra.sweeper.n_trials=2", "hydra.sweeper.sampler.seed=3")
    for _ in range(2):
        ran = sweep(app, *arguments, "x=interval(-5.0,5.0)")
        assert ran.returncode == 0, ran.stderr
    study = optuna.load_study(study_name="kl", storage=url)
    assert len(study.trials) == 4
    assert len({trial.params["x"] for trial in study.trials}) == 4
    assert results(app)["best_value"] == study.best_value


def test_a_seed_makes_a_study_reproducible(app: Path) -> None:
    points = []
    for _ in range(2):
        ran = sweep(app, "hydra.sweeper.sampler.seed=7", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1", "x=interval(-5.0,5.0)")
        assert ran.returncode == 0, ran.stderr
        points.append(results(app))
    assert points[0] == points[1]


def test_a_custom_search_space_suggests_further_parameters(app: Path) -> None:
    (app / "spaces.py").write_text("def suggest(config, trial):\n    trial.suggest_int('extra', 1, config.most)\n")
    ran = sweep(app, "hydra.sweeper.custom_search_space=spaces.suggest", "most=1", "hydra.sweeper.n_trials=2", "x=interval(-5.0,5.0)")
    assert ran.returncode == 0, ran.stderr
    assert results(app)["best_params"]["extra"] == 1
    assert results(app)["best_value"] >= 1.0


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("hydra.sweeper.n_trials=0", "hydra.sweeper.n_trials: expected a whole number, 1 or more, got 0"),
    ],
)
def test_a_bad_option_is_refused_before_any_job_starts(app: Path, argument: str, sentence: str) -> None:
    ran = sweep(app, argument, "x=interval(-5.0,5.0)")
    assert ran.returncode != 0
    assert sentence in ran.stderr
    assert not (app / "diary").exists()

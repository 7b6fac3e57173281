"""W&B runs of other making become studies and tasks: written by the real client, to the disk and to the server for tests."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from commands import drill, run
from past_trainings import METRIC, SECRET
from wandb_server import KEY, WandbServer

from harness.errors import ConfigError
from harness.metrics import MetricReader
from harness.paths import StudyPaths
from harness.status import StudyStatus, load_study
from harness.types import Reason, TrialState
from sweeps.replay.read import read_tasks

PROGRAM = Path(__file__).parents[1] / "past_trainings.py"
LR, N = "actor_rollout_ref.actor.optim.lr", "actor_rollout_ref.rollout.n"
TRAININGS = [
    {"name": "good", "lr": 1e-6, "n": 8, "values": [0.1, 0.2, 0.4, 0.5], "group": "first", "tags": ["keep"]},
    {"name": "again", "lr": 1e-6, "n": 8, "values": [0.1, 0.2, 0.3, 0.4], "group": "first"},
    {"name": "wide", "lr": 1e-6, "n": 16, "values": [0.1, 0.3, 0.4, 0.6], "tags": ["keep"]},
    {"name": "diverged", "lr": 1e-2, "n": 8, "values": [0.1, None, None, None]},
    {"name": "failed", "lr": 3e-6, "n": 8, "values": [0.1, 0.2], "ending": 1},
    {"name": "interrupted", "lr": 3e-6, "n": 16, "values": [0.1, 0.2, 0.3], "ending": 255},
    {"name": "killed", "lr": 1e-5, "n": 8, "values": [0.1, 0.2, 0.3], "ending": "killed"},
]
ENDS = [
    (TrialState.COMPLETE, Reason.FINISHED),
    (TrialState.COMPLETE, Reason.FINISHED),
    (TrialState.COMPLETE, Reason.FINISHED),
    (TrialState.FAIL, Reason.NON_FINITE),
    (TrialState.FAIL, Reason.CRASHED),
    (TrialState.PRUNED, Reason.USER),
    (TrialState.PRUNED, Reason.USER),
]


def train(cwd: Path, trainings: Sequence[Mapping[str, Any]], **environment: str) -> None:
    cwd.mkdir(exist_ok=True)
    words = [sys.executable, str(PROGRAM), json.dumps(trainings)]
    subprocess.run(words, cwd=cwd, env=os.environ | environment, timeout=240, check=False, capture_output=True)


def imported(cwd: Path, *words: str) -> StudyStatus:
    done = run("verl-study", "import", *words, "--name", "old", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return load_study(StudyPaths(cwd / "outputs" / "old"))


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which trainings left their runs; nobody writes there any more."""
    folder = tmp_path_factory.mktemp("past") / "gsm8k"
    train(folder, TRAININGS, WANDB_MODE="offline")
    return folder


@pytest.fixture(scope="module")
def study(offline: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyStatus:
    """Made of them."""
    return imported(tmp_path_factory.mktemp("study"), str(offline))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    with WandbServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


def test_runs_on_the_disk_are_a_study_whose_knobs_nobody_had_to_name(study: StudyStatus) -> None:
    assert study.record.knobs == (LR, N)
    assert [trial.params for trial in study.trials] == [{LR: one["lr"], N: one["n"]} for one in TRAININGS]
    assert [(trial.state, trial.reason) for trial in study.trials] == ENDS
    assert [trial.seed for trial in study.trials][:3] == [0, 1, 0], "nobody named a seed: they are told by their order"
    assert [trial.gpu_seconds for trial in study.trials][:2] == [12.0, 12.0], "four steps of 1.5 s on two GPUs"
    assert study.trials[6].message.startswith("killed ends at step")
    result = study.result()
    assert result is not None
    assert (result.best.trials, result.best.mean) == ((0, 1), 0.45), "one seed of the other is luck"


def test_rows_are_whole_and_what_is_not_finite_stays_so(study: StudyStatus) -> None:
    metrics = [list(MetricReader(trial.attempt(0).metrics).new_points()) for trial in study.paths.trials()]
    assert [len(points) for points in metrics[:6]] == [4, 4, 4, 4, 2, 3]
    assert set(metrics[0][0].values) == {METRIC, "training/global_step", "timing_s/step"}, "no parts of pictures, no texts"
    assert [math.isnan(point.values[METRIC]) for point in metrics[3]] == [False, True, True, True]


def test_they_have_a_report_and_can_be_compared_and_nobody_tells_wandb_of_them_again(study: StudyStatus) -> None:
    cwd = study.paths.root.parents[1]
    report = run("verl-study", "report", "old", "--no-browser", cwd=cwd)
    assert report.returncode == 0, report.stderr
    assert "rollout_n" in (study.paths.report / "report.md").read_text()
    assert run("verl-study", "compare", "old", "old", cwd=cwd).returncode == 0
    assert run("verl-study", "sync", "old", cwd=cwd).stdout == "old: W&B has every trial that ran\n"


@pytest.mark.slow
def test_group_tag_and_runs_yaml_choose_and_correct(offline: Path, tmp_path: Path) -> None:
    old = tmp_path / "old-runs"
    old.mkdir()
    (old / "wandb").symlink_to(offline / "wandb")
    (old / "runs.yaml").write_text("runs: {again: {params: {lr: 1.0e-6}, seed: 7}}")
    study = imported(tmp_path, str(old), "--group", "first")
    assert [(trial.params, trial.seed) for trial in study.trials] == [({}, 0), ({"lr": 1e-6}, 7)]
    one = next(offline.glob("wandb/offline-run-*"))
    none = run("verl-study", "import", str(one), "--name", "none", "--tag", "keep", "--group", "third", cwd=tmp_path)
    assert (none.returncode, none.stderr) == (2, f"verl-study: the W&B runs in {one.name} (group third, tag keep): there is none\n")


def test_no_secret_of_a_run_is_written_down(offline: Path, study: StudyStatus) -> None:
    assert any(SECRET.encode() in log.read_bytes() for log in offline.rglob("*.wandb"))
    assert [path for path in study.paths.root.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()] == []


def test_a_log_that_is_none_is_left_out_and_counted(offline: Path, tmp_path: Path) -> None:
    good, broken = next(offline.glob("wandb/offline-run-*")), tmp_path / "run-20200101_000000-broken"
    (tmp_path / good.name).symlink_to(good)
    broken.mkdir()
    (broken / "run-broken.wandb").write_text("no log")
    done = run("verl-study", "import", str(tmp_path), "--name", "old", cwd=tmp_path)
    assert done.stdout.splitlines()[2:] == ["left out: 1 whose log is none of W&B's"]


@pytest.mark.slow
def test_a_run_that_was_gone_on_with_is_one_and_its_later_word_counts(tmp_path: Path) -> None:
    there, name = tmp_path / "resumed", {"name": "resumed", "lr": 1e-6, "n": 8}
    for part in ({"values": [0.1, 0.2, 0.3], "ending": 1}, {"values": [0.5, 0.6], "first": 2}):
        train(there, [{**name, **part}], WANDB_MODE="offline", WANDB_RUN_ID="resumed", WANDB_RESUME="allow")
    (trial,) = imported(tmp_path, str(there)).trials
    assert (trial.state, trial.steps, trial.values) == (TrialState.COMPLETE, 3, (0.6,))
    assert trial.curve == ((0, 0.1), (1, 0.2), (2, 0.5), (3, 0.6))


def test_without_wandb_its_runs_are_refused_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "wandb" / "offline-run-20261126_000000-one"
    there.mkdir(parents=True)
    (there / "run-one.wandb").touch()
    monkeypatch.setitem(sys.modules, "wandb", None)  # what find_spec takes for a package that is not installed
    for source in (str(tmp_path), "wandb://tests/gsm8k"):
        with pytest.raises(ConfigError, match=r"pip install 'verl-sweep\[wandb\]'"):
            read_tasks(source)


@pytest.mark.slow
def test_a_replay_reads_them_too(offline: Path) -> None:
    (task,) = read_tasks(offline)
    assert (task.labels, task.seeds, task.total_steps) == (("good", "wide", "diverged"), 2, 3)
    assert task.params == ({LR: 1e-6, N: 8}, {LR: 1e-6, N: 16}, {LR: 1e-2, N: 8})
    assert task.curves_cs[0] == (((1, 0.2), (2, 0.4), (3, 0.5)), ((1, 0.2), (2, 0.3), (3, 0.4)))


def test_a_project_is_read_whole_where_the_servers_history_would_be_a_sample(server: WandbServer, tmp_path: Path) -> None:
    long = [step / 2000 for step in range(1200)]
    train(tmp_path / "there", [{**TRAININGS[0], "values": long}, *TRAININGS[2:5]])
    study = imported(tmp_path, "wandb://tests/gsm8k")
    assert [trial.number for trial in study.trials] == [0, 1, 2, 3]
    assert [point.step for point in MetricReader(study.paths.trial(0).attempt(0).metrics).new_points()] == list(range(1200))
    diverged = list(MetricReader(study.paths.trial(2).attempt(0).metrics).new_points())
    assert [math.isnan(point.values[METRIC]) for point in diverged] == [False, True, True, True]
    assert study.record.knobs == (LR, N)
    assert server.store.unknown == {}


@pytest.mark.slow
def test_runs_at_wandb_are_linked_and_chosen_by_the_server_and_a_replay_reads_them(server: WandbServer, tmp_path: Path) -> None:
    train(tmp_path / "there", TRAININGS[:3])
    (task,) = read_tasks("wandb://tests/gsm8k")
    assert (task.name, task.labels, task.seeds) == ("gsm8k", ("good", "wide"), 2)
    study = imported(tmp_path, "wandb://tests/gsm8k", "--tag", "keep")
    assert [trial.params for trial in study.trials] == [{N: 8}, {N: 16}]
    assert run("verl-study", "sync", "old", cwd=tmp_path).stdout == "old: W&B has every trial that ran\n"
    assert run("verl-study", "report", "old", "--no-browser", cwd=tmp_path).returncode == 0
    page = (tmp_path / "outputs/old/report/report.html").read_text()
    assert all(f"{server.url}/tests/gsm8k/runs/{found.name}" in page for found in server.store.runs.values() if "keep" in found.tags)
    assert [path for path in (tmp_path / "outputs").rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()] == []


@pytest.mark.slow
def test_runs_of_this_harness_come_back_as_the_trials_that_they_were(server: WandbServer, tmp_path: Path) -> None:
    assert drill(tmp_path, "hydra.sweeper.n_trials=4", "steps=10").returncode == 0
    assert run("verl-study", "sync", "drill", cwd=tmp_path).returncode == 0
    before, after = load_study(StudyPaths(tmp_path / "outputs" / "drill")), imported(tmp_path, "wandb://tests/drill")
    assert set(after.record.knobs) == set(before.record.knobs)
    facts = [
        [(one.configuration, one.params, one.seed, one.state, one.reason, one.values, one.steps, one.seconds) for one in study.trials]
        for study in (before, after)
    ]
    assert facts[0] == facts[1]


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"WANDB_API_KEY": KEY[::-1]}, 1, "does not let us in"),
        ({"WANDB_BASE_URL": "http://127.0.0.1:9"}, 1, "does not answer"),
        ({}, 2, "W&B's project tests/gsm8k: there is none"),
    ],
)
def test_a_project_that_cannot_be_read_is_one_sentence_and_nothing_is_written(
    server: WandbServer, tmp_path: Path, change: dict[str, str], status: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in change.items():
        monkeypatch.setenv(name, value)
    done = run("verl-study", "import", "wandb://tests/gsm8k", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (status, "", 1), done.stderr
    assert said in done.stderr
    assert not (tmp_path / "outputs").exists()

"""A study's own run at W&B, by the real client: complete whatever ended its writer, and in the state that the study is in."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import commands
import pytest
from factory import DEAD, METRIC, StudyFactory, whole_study
from wandb_server import Run, WandbServer

from harness import records
from harness.command import study_key
from harness.paths import StudyPaths
from harness.status import load_study
from harness.study_metrics import in_order_of_ends, is_milestone, row, rows, saved_gpu_s, trial_columns, trial_row
from harness.trackers.study_run import StudyRun, identity_of
from harness.types import Reason, Role, StudyRecord, TrialState
from sweeps.importance import LEAST, importance

LR = '{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-6, "high": 1e-4, "log": true}}'
N = '{"name": "CategoricalDistribution", "attributes": {"choices": [4, 8, 16]}}'


@pytest.fixture
def server() -> Iterator[WandbServer]:
    with WandbServer() as server:
        yield server


def prepared(study: StudyFactory, *, online: bool) -> StudyRun:
    """As the launch leaves it for the writer."""
    record = records.read(study.paths.record, StudyRecord)
    own = StudyRun(who=identity_of(record, entity=None, tags=("mine",)), online=online)
    study.paths.own_run.root.mkdir(exist_ok=True)
    records.replace(study.paths.own_run.spec, own)
    return own


def writer(study: StudyFactory, word: str, server: WandbServer | None = None) -> subprocess.Popen[str]:
    environment = os.environ | (server.environment if server is not None else {}) | {"HOME": str(study.outputs)}
    words = [sys.executable, "-m", "sweeps.study_run", word, str(study.paths.root)]
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return said


def offline(study: StudyPaths) -> dict[str, Any]:
    """The one run that is there, as wandb's own tool reads it."""
    (folder,) = study.own_run.wandb_runs
    wandb = Path(sys.executable).with_name("wandb")
    ran = subprocess.run([wandb, "leet", "inspect", "--summary", "--json", folder], capture_output=True, text=True, check=True)
    return json.loads(ran.stdout)


def steps(run: Run) -> list[int]:
    return [one["_step"] for one in run.rows]


# --- rows --------------------------------------------------------------------------------------------------------------------------


def test_there_is_a_row_for_each_end_and_the_best_so_far_never_falls(tmp_path: Path) -> None:
    study = whole_study(tmp_path, gpus=True)
    status = load_study(study.paths)
    told = dict(rows(status.record, in_order_of_ends(status.trials)))
    assert list(told) == list(range(1, 22))
    best = [one["study/best"] for one in told.values() if "study/best" in one]
    assert best == sorted(best)
    last = told[21]
    assert (last["study/complete"], last["study/pruned"], last["study/fail"]) == (12, 6, 3)
    assert (last["study/incumbent"], last["study/best"]) == (status.best.number, status.best_mean()[0])
    assert last["study/gpu_hours_used"] == pytest.approx(sum(trial.gpu_seconds for trial in status.trials if trial.state.ended) / 3600)


def test_rows_behind_some_are_those_of_all(tmp_path: Path) -> None:
    """A writer that goes on says what one that begins anew says."""
    status = load_study(whole_study(tmp_path).paths)
    in_order = in_order_of_ends(status.trials)
    assert dict(rows(status.record, in_order, begin=15)) == {count: one for count, one in rows(status.record, in_order) if count > 15}


def test_a_configuration_with_several_seeds_counts_with_their_mean(tmp_path: Path) -> None:
    study = StudyFactory(tmp_path)
    for number, value in enumerate((0.8, 0.6)):
        study.ended(number, values=(value,), seed=number, configuration="a", role=Role.REPLICATE if number else Role.TUNING)
    status = load_study(study.paths)
    first, second = (one["study/best"] for _, one in rows(status.record, in_order_of_ends(status.trials)))
    assert (first, second) == (0.8, pytest.approx(0.7))


def test_what_stopping_saved_is_the_rest_of_the_training_at_its_own_pace(tmp_path: Path) -> None:
    study = StudyFactory(tmp_path, total_steps=30)
    study.ended(0, TrialState.PRUNED, steps=10, seconds=160.0, gpu_seconds=320.0)  # 60 s of it start-up: 10 s a step, on two GPUs
    study.ended(1, TrialState.FAIL, steps=10, seconds=160.0, gpu_seconds=320.0)
    study.ended(2, TrialState.PRUNED, reason=Reason.REFUSED, steps=0, seconds=0.0)
    study.ended(3, TrialState.PRUNED, reason=Reason.GUARDED, steps=20, seconds=260.0, gpu_seconds=260.0)
    trials = load_study(study.paths).trials
    assert [saved_gpu_s([trial]) for trial in trials] == pytest.approx([20 * 10 * 2, 0, 0, 10 * 10])


def test_what_is_costly_is_told_ever_more_seldom() -> None:
    milestones = [count for count in range(1, 10_001) if is_milestone(count)]
    assert milestones[:4] == [1, 2, 3, 4]
    assert len(milestones) < 45


def test_the_table_has_every_trial_with_its_knobs(tmp_path: Path) -> None:
    status = load_study(whole_study(tmp_path).paths)
    columns = trial_columns(status.record.knobs)
    table = [dict(zip(columns, trial_row(status, trial), strict=True)) for trial in status.trials]
    assert [one["trial"] for one in table] == list(range(23))
    assert table[1] | {"message": ""} == table[1] | {"state": "PRUNED", "reason": "pruned", "steps": 12, "seed": 1, "message": ""}
    assert table[21]["state"] == "RUNNING"


def test_importance_finds_the_knob_that_matters_and_waits_for_enough_trials(tmp_path: Path) -> None:
    study = StudyFactory(tmp_path, knobs=("lr", "n"))
    for number in range(40):
        lr = 10 ** (-6 + 2 * (number % 20) / 19)
        study.ended(number, values=(-abs(number % 20 - 12) / 10,), params={"lr": lr, "n": (4, 8, 16)[number % 3]})
    status = load_study(study.paths)
    record = replace(status.record, space={"lr": LR, "n": N})
    shares = importance(record, status.trials)
    assert shares["lr"] > 0.8
    assert sum(shares.values()) == pytest.approx(1.0)
    assert importance(record, status.trials[: LEAST - 1]) == {}


# --- the run -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_offline_run_is_whole_after_its_writer_was_killed_and_another_began(tmp_path: Path) -> None:
    study = StudyFactory(tmp_path, n_trials=3)
    study.controller()
    own = prepared(study, online=False)
    study.ended(0, values=(0.5,))
    first = writer(study, "follow")
    commands.wait_until(lambda: study.paths.own_run.wandb_runs, meanwhile=[first])
    first.kill()
    first.communicate()
    study.ended(1, values=(0.7,))
    study.controller(DEAD)
    ended(writer(study, "follow"))
    run = offline(study.paths)
    assert (run["run_id"], run["step"], run["exit_code"]) == (own.who.id, 2, 255)  # a trial is still to come
    study.ended(2, values=(0.6,))
    ended(writer(study, "follow"))
    run = offline(study.paths)
    assert (run["run_id"], run["step"], run["exit_code"]) == (own.who.id, 3, 0)
    assert (run["summary"]["study/best"], run["summary"]["study/incumbent"], run["summary"]["study/trials"]["nrows"]) == (0.7, 1, 3)
    assert [link.resolve() for link in study.paths.wandb.iterdir()] == [one.resolve() for one in study.paths.own_run.wandb_runs]


@pytest.mark.slow
def test_an_online_run_is_told_while_the_study_goes_on_and_no_row_comes_twice(server: WandbServer, tmp_path: Path) -> None:
    study = StudyFactory(tmp_path, n_trials=3)
    study.controller()
    own = prepared(study, online=True)
    study.ended(0, values=(0.5,))
    first = writer(study, "follow", server)
    commands.wait_until(lambda: [steps(run) for run in server.store.runs.values()] == [[1]], meanwhile=[first])
    assert server.store.run(own.who.id).state == "running"
    first.kill()
    first.communicate()
    study.ended(1, values=(0.7,))
    study.ended(2, values=(0.6,))
    study.controller(DEAD)
    ended(writer(study, "follow", server))
    run = server.store.run(own.who.id)
    assert (run.state, run.group, run.job_type) == ("finished", "kl-and-lr", "study")
    assert steps(run) == [1, 2, 3]
    assert run.received["wandb-history.jsonl"] == 3
    assert [one["study/best"] for one in run.rows] == [0.5, 0.7, 0.7]
    assert {"kl-and-lr", "study", "mine", "finished"} <= set(run.tags)


def test_sync_tells_of_an_offline_run_once(server: WandbServer, tmp_path: Path) -> None:
    study = StudyFactory(tmp_path, n_trials=2)
    own = prepared(study, online=False)
    for number, value in enumerate((0.5, 0.7)):
        study.ended(number, values=(value,))
    assert json.loads(ended(writer(study, "sync", server))) == {"told": True, "rows": 2}
    assert json.loads(ended(writer(study, "sync", server))) == {"told": False}
    run = server.store.run(own.who.id)
    assert (run.state, steps(run), run.received["wandb-history.jsonl"]) == ("finished", [1, 2], 2)


@pytest.mark.slow
def test_a_server_that_is_away_ends_the_writer_with_the_study(tmp_path: Path) -> None:
    study = StudyFactory(tmp_path)
    study.controller(DEAD)
    prepared(study, online=True)
    absent = WandbServer()
    absent.come()
    absent.go()
    process = writer(study, "follow", absent)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "does not answer" in said


def test_the_same_study_is_the_same_run_for_every_controller(tmp_path: Path) -> None:
    record = records.read(StudyFactory(tmp_path).paths.record, StudyRecord)
    again = replace(record, n_trials=99, slots=())
    assert identity_of(record, entity=None, tags=()).id == identity_of(again, entity=None, tags=()).id
    assert identity_of(record, entity=None, tags=()).id == f"{study_key(record.name, record.created_at)}-study"
    assert row(record, [], at=record.created_at)["study/ended"] == 0.0
    assert METRIC in identity_of(record, entity=None, tags=()).config["objective"]


def test_a_launched_study_leaves_its_own_run(tmp_path: Path) -> None:
    arguments = ("tracking=wandb", "hydra.sweeper.n_trials=2", "study.name=own", "steps=3")
    assert commands.drill(tmp_path, *arguments).returncode == 0
    study = StudyPaths(tmp_path / "outputs" / "own")
    commands.wait_until(lambda: is_closed(study))
    assert (offline(study)["step"], offline(study)["exit_code"]) == (2, 0)
    assert study.own_run.log.read_text() == ""


def is_closed(study: StudyPaths) -> bool:
    """Its writer lets the lock go last."""
    with study.own_run.lock.open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return bool(study.own_run.wandb_runs)

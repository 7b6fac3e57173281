"""W&B is told of every trial, whatever dies: real studies of the stand-in trainer, the real client, the server for tests."""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from commands import drill, results, run, start
from factory import StudyFactory, wandb_tracker
from wandb_server import KEY, Fault, Run, WandbServer

from harness import records
from harness.paths import StudyPaths, TrialPaths
from harness.trackers import offline_runs
from harness.trackers.trial_run import Told, rows_of
from harness.types import AttemptResult, AttemptSpec, Reason, RunState, StopRequest, TrialResult, TrialSpec, TrialState

CLIENT = Path(__file__).parents[1] / "wandb_client.py"
WANDB = Path(sys.executable).with_name("wandb")
ONLINE = ("tracking=wandb", "tracking.mode=online")
MANY_STEPS = ("drill.step_s=0.2", "steps=100", "drill.startup_s=0", "hydra/sweeper/pruner=none")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    with WandbServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


def study_of(folder: Path, name: str = "drill") -> StudyPaths:
    return StudyPaths(folder / "outputs" / name)


def run_of(server: WandbServer, trial: TrialPaths) -> Run:
    return server.store.run(records.read(trial.attempts()[-1].spec, AttemptSpec).run_id)


def steps(run: Run) -> list[int]:
    return [row["_step"] for row in run.rows]


def until(holds: object, seconds: float = 60.0) -> None:
    """Waits for what another process is about to do."""
    assert callable(holds)
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def assert_whole(server: WandbServer, trial: TrialPaths) -> None:
    """The run that the server has is the trial, every step once, closed as the trial was."""
    found, result = run_of(server, trial), records.read(trial.result, TrialResult)
    assert steps(found) == list(rows_of(trial))
    assert found.received["wandb-history.jsonl"] == len(found.rows)
    assert {result.state.value.lower(), result.reason.value} <= set(found.tags)
    assert found.state == ("failed" if found.exit_code else "finished")
    assert found.summary["harness/reason"] == result.reason.value


def test_sync_tells_of_every_trial_once_and_who_it_is(server: WandbServer, tmp_path: Path) -> None:
    done = drill(tmp_path, "hydra.sweeper.n_trials=4", "steps=10")
    assert done.returncode == 0, done.stdout + done.stderr
    study = study_of(tmp_path)
    assert server.store.runs == {}  # offline, nobody was told
    for said in (f"drill: W&B was told of 4 trials, {sum(len(rows_of(trial)) for trial in study.trials())} steps", "W&B has every trial"):
        synced = run("verl-study", "sync", "drill", cwd=tmp_path)
        assert synced.returncode == 0, synced.stderr
        assert said in synced.stdout
    for trial in study.trials():
        assert_whole(server, trial)
        found, spec = run_of(server, trial), records.read(trial.spec, TrialSpec)
        assert (found.group, found.job_type, found.project) == ("drill", "tuning", "drill")
        assert {"drill", "grpo", "tuning", f"seed-{spec.seed}"} <= set(found.tags)
        assert found.settings["configuration"] == spec.configuration
        assert spec.params.items() <= found.settings.items()
        assert found.settings["trainer"]["total_training_steps"] == 10


@pytest.mark.slow
def test_an_uploader_that_dies_costs_no_row_and_doubles_none(server: WandbServer, tmp_path: Path) -> None:
    drill(tmp_path, "hydra.sweeper.n_trials=3", "steps=10")
    study = study_of(tmp_path)
    server.faults.set(Fault(stall_s=0.3))
    for rows in (1, 15):  # in the first trial, in the second
        syncing = start("verl-study", "sync", "drill", cwd=tmp_path)
        until(lambda rows=rows: sum(len(run.rows) for run in server.store.runs.values()) >= rows)
        os.killpg(syncing.pid, signal.SIGKILL)
        syncing.communicate()
    server.faults.set(Fault())
    assert run("verl-study", "sync", "drill", cwd=tmp_path).returncode == 0
    for trial in study.trials():
        assert_whole(server, trial)


@pytest.mark.slow
def test_an_online_study_streams_while_it_trains_and_ends_whole(server: WandbServer, tmp_path: Path) -> None:
    study = study_of(tmp_path)
    launch = start("verl-sweep", "-m", "experiment=drill", *MANY_STEPS, "hydra.sweeper.n_trials=1", *ONLINE, cwd=tmp_path)
    until(lambda: any(run.rows for run in server.store.runs.values()))
    assert not study.trial(0).result.exists()
    launch.communicate(timeout=120)
    assert launch.returncode == 0
    until(study.trial(0).told.exists)
    assert_whole(server, study.trial(0))


def test_the_stop_button_stops_the_trial_as_its_user_would(server: WandbServer, tmp_path: Path) -> None:
    study = study_of(tmp_path)
    many = ("drill.step_s=0.2", "steps=1000", "hydra/sweeper/pruner=none")
    launch = start("verl-sweep", "-m", "experiment=drill", *many, "hydra.sweeper.n_trials=1", *ONLINE, cwd=tmp_path)
    until(lambda: any(run.rows for run in server.store.runs.values()))
    run_of(server, study.trial(0)).stop_requested = True
    launch.communicate(timeout=60)
    result = records.read(study.trial(0).result, TrialResult)
    assert (result.state, result.reason, result.message) == (TrialState.FAIL, Reason.USER, "stopped in W&B")
    ending = records.read(study.trial(0).attempt(0).result, AttemptResult)
    assert (ending.state, ending.forced) == (RunState.STOPPED, False)
    until(study.trial(0).told.exists)
    assert_whole(server, study.trial(0))


@pytest.mark.slow
def test_a_courier_that_dies_has_a_successor_when_the_trial_ends(server: WandbServer, tmp_path: Path) -> None:
    study = study_of(tmp_path)
    launch = start("verl-sweep", "-m", "experiment=drill", *MANY_STEPS, "hydra.sweeper.n_trials=1", *ONLINE, cwd=tmp_path)
    until(lambda: any(run.rows for run in server.store.runs.values()))
    words = ["harness.trackers.courier", "follow", str(study.trial(0).root.absolute())]
    (courier,) = (process for process in psutil.process_iter(["cmdline"]) if (process.info["cmdline"] or [])[-3:] == words)
    courier.kill()
    launch.communicate(timeout=120)
    until(study.trial(0).told.exists)
    assert_whole(server, study.trial(0))


@pytest.mark.slow
def test_a_study_goes_on_without_its_server_and_is_told_of_later(server: WandbServer, tmp_path: Path) -> None:
    server.go()
    done = drill(tmp_path, "hydra.sweeper.n_trials=2", "steps=10", *ONLINE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {result.state for result in results(study_of(tmp_path)).values()} <= {TrialState.COMPLETE, TrialState.PRUNED}
    until(lambda: all("does not answer" in trial.courier_log.read_text() for trial in study_of(tmp_path).trials()))
    absent = run("verl-study", "sync", "drill", cwd=tmp_path)
    assert absent.returncode == 1
    assert "does not answer" in absent.stderr
    server.come()
    assert run("verl-study", "sync", "drill", cwd=tmp_path).returncode == 0
    for trial in study_of(tmp_path).trials():
        assert_whole(server, trial)
        assert records.read(trial.told, Told).rows == len(rows_of(trial))


@pytest.mark.slow
def test_a_server_that_disappears_and_comes_back_has_all_rows_in_the_end(server: WandbServer, tmp_path: Path) -> None:
    study = study_of(tmp_path)
    launch = start("verl-sweep", "-m", "experiment=drill", *MANY_STEPS, "hydra.sweeper.n_trials=2", *ONLINE, cwd=tmp_path)
    until(lambda: any(run.rows for run in server.store.runs.values()))
    server.go()
    launch.communicate(timeout=120)
    assert launch.returncode == 0
    server.come()
    until(lambda: "another process" not in synced(tmp_path), seconds=200.0)
    for trial in study.trials():
        assert_whole(server, trial)


def synced(folder: Path) -> str:
    """What the command says; it leaves out a trial that a courier still tells of."""
    return run("verl-study", "sync", "drill", cwd=folder).stdout


def test_without_a_key_a_study_runs_and_sync_says_what_is_missing(
    server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    done = drill(tmp_path, "hydra.sweeper.n_trials=1", "steps=5", *ONLINE)
    assert done.returncode == 0, done.stdout + done.stderr
    synced = run("verl-study", "sync", "drill", cwd=tmp_path)
    assert synced.returncode == 1
    assert "there is no key for W&B" in synced.stderr
    assert "WANDB_API_KEY" in synced.stderr


def test_no_file_of_a_study_holds_the_key(server: WandbServer, tmp_path: Path) -> None:
    drill(tmp_path, "hydra.sweeper.n_trials=2", "steps=10", *ONLINE, quick=False)
    study = study_of(tmp_path)
    until(lambda: all(trial.told.exists() for trial in study.trials()))
    factory = StudyFactory(tmp_path / "outputs", name="killed")  # with what wandb itself leaves
    trial, spec = begin_trial(factory, 0)
    train_until_killed(trial, spec, signal.SIGTERM, after_rows=5)
    wandb_tracker().ended(trial)
    until(lambda: bool(trial.wandb_runs))
    for words in (("sync", "killed"), ("report", "drill"), ("show", "drill")):
        said = run("verl-study", *words, cwd=tmp_path)
        assert KEY not in said.stdout + said.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


# --- deaths ------------------------------------------------------------------------------------------------------------------------


def end_by_force(trial: TrialPaths, steps: int, exit_code: int) -> None:
    """What supervisor and controller write of an attempt whose engine was killed."""
    ended: dict[str, Any] = {"reason": Reason.CRASHED, "message": "killed", "ended_at": time.time(), "steps": steps}
    records.write(trial.attempts()[-1].result, AttemptResult(state=RunState.FAILED, exit_code=exit_code, forced=True, **ended))
    more: dict[str, Any] = {"values": None, "attempts": 1, "seconds": 1.0, "gpu_seconds": 0.0, "startup_s": None, "slot": "cpu:0"}
    records.write(trial.result, TrialResult(number=trial.number, state=TrialState.FAIL, **ended, **more))


def begin_trial(factory: StudyFactory, number: int) -> tuple[TrialPaths, AttemptSpec]:
    factory.waiting(number, params={"lr": 1e-3})
    trial = factory.paths.trial(number)
    attempt = trial.attempt(0)
    attempt.root.mkdir(exist_ok=True)
    tracker = wandb_tracker(tags=("ablation",))
    run_id = f"{factory.name}-abc-{number:04d}"
    spec = AttemptSpec(
        study=factory.name,
        trial=number,
        attempt=0,
        run_id=run_id,
        environment=tracker.environment(records.read(trial.spec, TrialSpec), attempt, run_id=run_id),
        fingerprint="",
        config={"trainer": {"project_name": factory.name, "experiment_name": trial.root.name}, "algorithm": {"adv_estimator": "grpo"}},
    )
    records.write(attempt.spec, spec)
    return trial, spec


def train_until_killed(trial: TrialPaths, spec: AttemptSpec, number: signal.Signals, after_rows: int) -> None:
    """W&B's real client in an engine's place: it logs as verl does, and is killed."""
    metrics = trial.attempt(0).metrics
    words = [sys.executable, str(CLIENT), "1000", "0.02", str(metrics)]
    with subprocess.Popen(words, env=os.environ | spec.environment, stderr=subprocess.DEVNULL, start_new_session=True) as client:
        until(lambda: metrics.exists() and len(metrics.read_bytes().splitlines()) >= after_rows)
        os.killpg(client.pid, number)  # wandb's service with it, as with an engine's tree
    end_by_force(trial, after_rows, -number)


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL])
def test_the_run_of_a_killed_client_becomes_whole_offline_and_wandb_sync_tells_all_of_it(
    server: WandbServer, tmp_path: Path, number: signal.Signals
) -> None:
    factory = StudyFactory(tmp_path / "outputs", name="killed")
    trial, spec = begin_trial(factory, 0)
    train_until_killed(trial, spec, number, after_rows=40)
    assert offline_runs.are_in_parts(trial)
    wandb_tracker().ended(trial)
    until(lambda: [run.resolve().parent.parent for run in factory.paths.wandb.iterdir()] == [trial.root])
    done = subprocess.run([WANDB, "sync", factory.paths.wandb], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_whole(server, trial)
    found = run_of(server, trial)
    assert (found.exit_code, found.state) == (128 + number, "failed")
    assert {"ablation", "crashed", "grpo"} <= set(found.tags)
    assert run("verl-study", "sync", "killed", cwd=tmp_path).returncode == 0  # one after the other, each row is there once
    assert_whole(server, trial)


class Reaper(threading.Thread):
    """Ends the trials of a study at random moments: by SIGTERM, by SIGKILL, by a stop request for the next step."""

    def __init__(self, study: StudyPaths, seed: int) -> None:
        super().__init__(daemon=True)
        self.study, self.draw = study, random.Random(seed)
        self.fates: dict[int, str] = {}
        self.over = threading.Event()

    def run(self) -> None:
        due: dict[int, float] = {}
        while not self.over.wait(0.02):
            for trial in self.study.trials():
                if trial.number not in due and trial.attempt(0).metrics.exists():
                    due[trial.number] = time.monotonic() + self.draw.uniform(0.0, 1.2)
                if trial.number not in self.fates and time.monotonic() > due.get(trial.number, math.inf):
                    self.fates[trial.number] = self._end(trial)

    def _end(self, trial: TrialPaths) -> str:
        attempt = trial.attempt(0)
        engine = next((event.data["engine"] for event in records.events(attempt.events) if event.name == "given_slot"), None)
        if attempt.result.exists() or engine is None:
            return "none"
        fate = self.draw.choice(("SIGTERM", "SIGKILL", "stop"))
        if fate == "stop":
            records.write(attempt.stop, StopRequest(reason=Reason.USER, message="by chance", requested_at=time.time(), grace_s=30.0))
            return fate
        started = [event.data["pid"] for event in records.events(self.study.engine(engine).events) if event.name == "started"]
        with contextlib.suppress(ProcessLookupError):
            os.kill(started[-1], getattr(signal, fate))
        return fate


@pytest.mark.slow
def test_the_clients_own_word_of_the_stop_button_stops_the_trial_too(server: WandbServer, tmp_path: Path) -> None:
    """Where the server does not answer the question that the courier asks more often."""
    factory = StudyFactory(tmp_path / "outputs", name="slow-steps")
    trial, _ = begin_trial(factory, 0)
    trial.attempt(0).metrics.write_text('{"step": 0, "data": {"a": 1.0}}\n{"step": 1, "data": {"a": 2.0}}\n')
    wandb_tracker("online").runs(trial)
    until(lambda: bool(server.store.runs) and bool(run_of(server, trial).rows))
    server.faults.set(Fault(status=404, path="/graphql"))
    run_of(server, trial).stop_requested = True
    until(trial.attempt(0).stop.exists)
    server.faults.set(Fault())
    assert records.read(trial.attempt(0).stop, StopRequest).reason is Reason.USER
    end_by_force(trial, 1, -15)
    until(trial.told.exists)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_after_a_hundred_deaths_at_random_moments_wandb_has_verls_rows(server: WandbServer, tmp_path: Path) -> None:
    study = study_of(tmp_path)
    reaper = Reaper(study, seed=1)
    reaper.start()
    hard = ("limits.attempts=1", "limits.fail_alike=0", "hydra.sweeper.max_failure_rate=1.0", "resources.slots=2", "tracking=wandb")
    pace = ("drill.step_s=0.05", "drill.startup_s=0", "steps=40", "hydra/sweeper/pruner=none", "hydra/sweeper/sampler=random")
    done = run("verl-sweep", "-m", "experiment=drill", *pace, *hard, "hydra.sweeper.n_trials=110", cwd=tmp_path, timeout_s=1200)
    reaper.over.set()
    assert done.returncode == 0, done.stdout + done.stderr
    died = [number for number, fate in reaper.fates.items() if fate != "none"]
    assert len(died) >= 100
    assert {reaper.fates[number] for number in died} == {"SIGTERM", "SIGKILL", "stop"}
    synced = run("verl-study", "sync", "drill", cwd=tmp_path, timeout_s=600)
    assert synced.returncode == 0, synced.stdout + synced.stderr
    for trial in study.trials():
        assert_whole(server, trial)

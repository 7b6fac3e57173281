"""A study of real verl on the CPU, launched as its user launches it: three trials, one of which is bound to be stopped early."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from commands import results, run, start
from wandb_server import WandbServer
from wandb_server.store import Store

from harness import records
from harness.metrics import MetricReader
from harness.paths import StudyPaths, TrialPaths
from harness.processes import COOKIE
from harness.runs import knobs
from harness.status import load_study
from harness.types import AttemptResult, AttemptSpec, EngineSpec, MetricPoint, Reason, RunState, TrialResult, TrialSpec, TrialState

pytestmark = [pytest.mark.verl, pytest.mark.timeout(600)]

RUINOUS_LR = 1e-2  # the policy is lost at the first step, and the third validates it
ARGUMENTS = (
    "-m",
    "experiment=demo",
    "hydra/sweeper/plan=once",
    "study.name=real",
    "steps=5",
    f"lr=choice(3e-4,{RUINOUS_LR},1e-3)",
    "kl_coef=0.001",
    "rollout_n=2",
    "hydra/sweeper/sampler=grid",
    "hydra/sweeper/pruner=threshold",
    "hydra.sweeper.pruner.lower=0.2",
    "hydra.sweeper.pruner.n_warmup_steps=1",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyPaths, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("real")
    done = run("verl-sweep", *ARGUMENTS, cwd=folder, timeout_s=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return StudyPaths(folder / "outputs" / "real"), done


@pytest.fixture(scope="module")
def study(finished: tuple[StudyPaths, subprocess.CompletedProcess[str]]) -> StudyPaths:
    return finished[0]


def points(trial: TrialPaths) -> list[MetricPoint]:
    return list(MetricReader(trial.attempt(0).metrics).new_points())


def lr(trial: TrialPaths) -> float:
    return float(records.read(trial.spec, TrialSpec).params["lr"])


def test_the_ruined_trial_is_pruned_and_the_others_run_to_the_end(study: StudyPaths) -> None:
    told = results(study)
    states = {lr(study.trial(number)): result.state for number, result in told.items()}
    assert states == {3e-4: TrialState.COMPLETE, RUINOUS_LR: TrialState.PRUNED, 1e-3: TrialState.COMPLETE}
    assert {result.steps for result in told.values() if result.state is TrialState.COMPLETE} == {5}


def test_the_pruned_trial_stopped_at_a_step_boundary_without_force(study: StudyPaths) -> None:
    pruned = next(study.trial(number) for number, result in results(study).items() if result.state is TrialState.PRUNED)
    ending = records.read(pruned.attempt(0).result, AttemptResult)
    assert (ending.state, ending.reason, ending.forced) == (RunState.STOPPED, Reason.PRUNED, False)
    assert 3 <= ending.steps < 5
    assert max(point.step for point in points(pruned)) == ending.steps


def test_the_rollout_had_the_actors_weights_at_every_step(study: StudyPaths) -> None:
    name = "training/rollout_actor_probs_pearson_corr"
    for trial in study.trials():
        correlations = [point.values[name] for point in points(trial) if name in point.values]
        assert len(correlations) == results(study)[trial.number].steps
        assert min(correlations) > 0.99


def test_the_first_step_starts_from_the_reference(study: StudyPaths) -> None:
    for trial in study.trials():
        first = next(point.values["actor/kl_loss"] for point in points(trial) if "actor/kl_loss" in point.values)
        assert first == pytest.approx(0.0, abs=1e-6)


def test_the_best_trial_rose_above_where_it_began(study: StudyPaths) -> None:
    best = max((result for result in results(study).values() if result.values), key=lambda result: result.values or (0.0,))
    curve = [value for point in points(study.trial(best.number)) for name, value in point.values.items() if "/acc/mean@1" in name]
    assert best.values is not None
    assert best.values[0] > curve[0] + 0.2


def test_every_trial_is_an_offline_run_whose_rows_are_verls(study: StudyPaths) -> None:
    (own,) = study.own_run.wandb_runs  # whose writer may still be closing it
    runs = sorted(run for run in study.wandb.iterdir() if run.name != own.name)
    assert len(runs) == 3
    assert all(list(run.glob("run-*.wandb")) for run in runs)
    ids = {run.name.split("-", 3)[-1] for run in runs}
    assert len(ids) == 3
    with WandbServer() as server:
        environment = os.environ | server.environment
        wandb = Path(sys.executable).with_name("wandb")
        subprocess.run([wandb, "sync", *runs], cwd=study.root, env=environment, check=True, timeout=300)
        for trial in study.trials():
            assert_whole(server.store, trial)


def test_its_runs_come_back_from_wandbs_logs_as_the_trials_that_they_were(study: StudyPaths, tmp_path: Path) -> None:
    done = run("verl-study", "import", str(study.wandb), "--name", "again", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    facts = [
        {(one.configuration, one.params["lr"], one.seed, one.state, one.reason, one.values, one.steps) for one in load_study(found).trials}
        for found in (study, StudyPaths(tmp_path / "outputs" / "again"))
    ]
    assert facts[0] == facts[1]


def test_what_was_swept_is_what_differs_between_the_configurations_that_verl_logs(study: StudyPaths) -> None:
    configs = [records.read(trial.attempt(0).spec, AttemptSpec).config for trial in study.trials()]
    assert knobs.points(configs) == [({"actor_rollout_ref.actor.optim.lr": lr(trial)}, 1) for trial in study.trials()]


@pytest.mark.slow
def test_a_killed_engines_trial_is_whole_in_wandb_and_its_neighbour_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with WandbServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        study = StudyPaths(tmp_path / "outputs" / "real")
        more = ("tracking.mode=online", "limits.attempts=1", "hydra.sweeper.max_failure_rate=1.0", "engine.reuse=never")
        launch = start("verl-sweep", *ARGUMENTS, *more, cwd=tmp_path)
        metrics = study.trial(0).attempt(0).metrics
        while launch.poll() is None and not (metrics.exists() and metrics.read_bytes().count(b"\n") >= 3):
            time.sleep(0.05)
        started = next(event for event in records.events(study.engine(0).events) if event.name == "started")
        os.kill(started.data["pid"], signal.SIGKILL)
        launch.communicate(timeout=500)
        while not all(trial.told.exists() for trial in study.trials()):
            time.sleep(0.1)
        assert results(study)[0].reason is Reason.CRASHED
        for trial in study.trials():
            assert_whole(server.store, trial)


def assert_whole(store: Store, trial: TrialPaths) -> None:
    """Every step that verl's own file has, once, and closed as the trial was."""
    spec = records.read(trial.attempts()[-1].spec, AttemptSpec)
    found, result = store.run(spec.run_id), records.read(trial.result, TrialResult)
    assert [row["_step"] for row in found.rows] == sorted({point.step for point in points(trial)})
    assert found.received["wandb-history.jsonl"] == len(found.rows)
    assert {result.state.value.lower(), result.reason.value, "grpo", "tuning"} <= set(found.tags)
    assert (found.state, found.exit_code) == (("failed", 137) if result.state is TrialState.FAIL else ("finished", 0))
    assert found.settings["lr"] == lr(trial)
    assert found.settings["trainer"]["total_training_steps"] == 5


def test_every_result_names_its_start_up(study: StudyPaths) -> None:
    for result in results(study).values():
        assert result.startup_s is not None
        assert 0 < result.startup_s < result.seconds


def test_nothing_is_left_of_any_engine(study: StudyPaths) -> None:
    engines = [records.read(engine.command, EngineSpec) for engine in study.engines()]
    assert len(engines) == 1  # the three differ in a hot knob only
    assert not any(Path(engine.scratch).exists() for engine in engines)
    cookies = {f"{COOKIE}={engine.engine}".encode() for engine in engines}
    assert [pid for pid in Path("/proc").glob("[0-9]*") if cookies & environment_of(pid)] == []


def test_the_study_ends_with_its_answer_and_the_next_commands(
    finished: tuple[StudyPaths, subprocess.CompletedProcess[str]],
) -> None:
    text = finished[1].stdout
    for words in ("Best trial", "val-core/*/acc/mean@1", "PRUNED", "start-up", "verl-study repro", "wandb leet"):
        assert words in text


def test_show_tells_programs_the_same_as_the_records(study: StudyPaths) -> None:
    shown = run("verl-study", "show", "real", "--json", cwd=study.root.parents[1])
    trials = msgspec.json.decode(shown.stdout)["trials"]
    assert {trial["number"]: trial["state"] for trial in trials} == {n: r.state.value for n, r in results(study).items()}


def environment_of(process: Path) -> set[bytes]:
    try:
        return set((process / "environ").read_bytes().split(b"\0"))
    except OSError:
        return set()

"""Whole studies over the stand-in trainer, as real processes: what a user sees, what is on disk, and what is left alive (nothing)."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml
from commands import assert_nothing_left, drill, engine_of, opened, results, steps_logged

from harness import records
from harness.paths import StudyPaths
from harness.types import (
    AttemptResult,
    AttemptSpec,
    Reason,
    RunState,
    StudyRecord,
    TrialSpec,
    TrialState,
)

STRONG, WEAK = ("3e-5", "2e-5"), ("1e-6", "2e-6")  # learning rates whose curves lie far apart
WARM_UP = 30  # steps before the pruner looks
GRID = ("hydra/sweeper/sampler=grid",)
HELD = ("kl_coef=0.003", "rollout_n=16")
MODES = ("crash", "hang", '"nan"', "silent", "deaf", "forking")
NO_PRUNER = ("hydra/sweeper/pruner=none",)


@pytest.fixture(scope="module")
def pruned_command() -> tuple[str, ...]:
    """Three points of four; the pruner's bound lies between the strong and the weak ones."""
    pruner = ("hydra/sweeper/pruner=threshold", "hydra.sweeper.pruner.lower=0.3")
    space = (f"lr=choice({','.join(STRONG + WEAK)})", *HELD)
    pace = ("drill.startup_s=0", "drill.step_s=0.04", "steps=60", f"hydra.sweeper.pruner.n_warmup_steps={WARM_UP}")
    return (*GRID, *pruner, *pace, *space, "hydra.sweeper.n_trials=3", "study.name=pruned")


@pytest.fixture(scope="module")
def pruned_study(tmp_path_factory: pytest.TempPathFactory, pruned_command: Sequence[str]) -> tuple[CompletedProcess[str], StudyPaths]:
    folder = tmp_path_factory.mktemp("pruned")
    return drill(folder, *pruned_command, quick=False), StudyPaths(folder / "outputs" / "pruned")


@pytest.fixture
def copied(pruned_study: tuple[CompletedProcess[str], StudyPaths], tmp_path: Path) -> StudyPaths:
    """The pruned study in another folder, to be changed."""
    shutil.copytree(pruned_study[1].root, tmp_path / "outputs" / "pruned")
    return StudyPaths(tmp_path / "outputs" / "pruned")


# --- a study that goes well ------------------------------------------------------------------------------------------------------------


def test_a_study_ends_well_and_says_what_is_best(pruned_study: tuple[CompletedProcess[str], StudyPaths]) -> None:
    ran, study = pruned_study
    assert (ran.returncode, ran.stderr) == (0, "")
    best = yaml.safe_load(study.results.read_text())
    assert f"{best['best_params']['lr']:g}" in {f"{float(lr):g}" for lr in STRONG}
    assert f"Best trial {max(results(study).values(), key=lambda result: result.values or (0,)).number} of 3 in pruned" in ran.stdout


def test_strong_trials_complete_and_weak_ones_are_pruned(pruned_study: tuple[CompletedProcess[str], StudyPaths]) -> None:
    _, study = pruned_study
    for number, result in results(study).items():
        strong = records.read(study.trial(number).spec, TrialSpec).params["lr"] in map(float, STRONG)
        assert (result.state, result.reason) == ((TrialState.COMPLETE, Reason.FINISHED) if strong else (TrialState.PRUNED, Reason.PRUNED))
        assert result.steps == 60 if strong else WARM_UP <= result.steps < 60
    assert {result.state for result in results(study).values()} == {TrialState.COMPLETE, TrialState.PRUNED}


def test_a_pruned_trial_stops_by_itself_at_a_step_boundary(pruned_study: tuple[CompletedProcess[str], StudyPaths]) -> None:
    _, study = pruned_study
    for number, result in results(study).items():
        if result.state is TrialState.PRUNED:
            attempt = study.trial(number).attempt(0)
            end = records.read(attempt.result, AttemptResult)
            assert (end.state, end.forced) == (RunState.STOPPED, False)
            assert end.steps == steps_logged(attempt)[-1] == result.steps
            assert [event.name for event in engine_of(study, attempt)] == ["started", "ended"]


def test_a_freed_slot_is_given_to_the_next_trial(pruned_study: tuple[CompletedProcess[str], StudyPaths]) -> None:
    """By the engine that has it already; no slot stands empty, and none is given twice."""
    _, study = pruned_study
    by_slot: dict[str, list[tuple[float, float]]] = {}
    for number in results(study):
        attempt = study.trial(number).attempt(0)
        given = next(event for event in records.events(attempt.events) if event.name == "given_slot")
        by_slot.setdefault(given.data["slot"], []).append((given.at, records.read(attempt.result, AttemptResult).ended_at))
    assert sorted(len(attempts) for attempts in by_slot.values()) == [1, 2]
    for attempts in by_slot.values():
        assert all(end <= begin for (_, end), (begin, _) in pairwise(sorted(attempts)))
    assert {len(list(engine.inbox.iterdir())) for engine in study.engines()} == {1, 2}


def test_the_records_are_complete_and_agree_with_optuna(pruned_study: tuple[CompletedProcess[str], StudyPaths]) -> None:
    _, study = pruned_study
    record = records.read(study.record, StudyRecord)
    assert (record.n_trials, record.knobs, record.total_steps, record.defaults) == (3, ("lr",), 60, {"lr": 1e-6})
    told = opened(study).trials
    assert len(told) == 3
    for trial in told:
        paths = study.trial(trial.number)
        spec, result = records.read(paths.spec, TrialSpec), results(study)[trial.number]
        assert (dict(spec.params), result.state.value) == (trial.params, trial.state.name)
        assert (trial.user_attrs.get("reason", "finished"), trial.user_attrs.get("message", "")) == (result.reason.value, result.message)
        assert set(trial.intermediate_values) <= set(steps_logged(paths.attempt(0)))
        assert yaml.safe_load((paths.hydra / "overrides.yaml").read_text()) == list(spec.overrides)
        assert yaml.safe_load((paths.hydra / "config.yaml").read_text())["lr"] == spec.params["lr"]
        attempt = records.read(paths.attempt(0).spec, AttemptSpec)
        assert attempt.config["actor_rollout_ref"]["actor"]["optim"]["lr"] == spec.params["lr"]
        assert [event.name for event in records.events(paths.attempt(0).events)] == ["given_slot", "accepted", "training"]
        if result.values is not None:
            assert result.values == tuple(trial.values)


def test_nothing_is_left_of_a_study_that_went_well(pruned_study: tuple[CompletedProcess[str], StudyPaths]) -> None:
    assert_nothing_left(pruned_study[1])


def test_the_same_command_again_runs_nothing_more_and_more_trials_go_on_to_the_new_total(
    copied: StudyPaths, pruned_command: Sequence[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in copied.root.rglob("*") if "trial-" in str(path) or "engine-" in str(path)}
    again = drill(copied.root.parents[1], *pruned_command, quick=False)
    assert (again.returncode, again.stderr) == (0, "")
    assert before == {path: path.stat().st_mtime_ns for path in copied.root.rglob("*") if "trial-" in str(path) or "engine-" in str(path)}
    assert "Best trial" in again.stdout

    more = drill(copied.root.parents[1], *pruned_command[:-2], "hydra.sweeper.n_trials=4", "study.name=pruned", quick=False)
    assert (more.returncode, more.stderr) == (0, "")
    assert sorted(results(copied)) == [0, 1, 2, 3]
    assert len({trial.params["lr"] for trial in opened(copied).trials}) == 4
    assert records.read(copied.record, StudyRecord).n_trials == 4


# --- the study's storage ---------------------------------------------------------------------------------------------------------------


def test_a_study_whose_journal_is_gone_is_refused_rather_than_begun_again(copied: StudyPaths, pruned_command: Sequence[str]) -> None:
    copied.journal.unlink()
    before = sorted(copied.root.rglob("*"))
    ran = drill(copied.root.parents[1], *pruned_command, quick=False)
    assert ran.returncode == 2
    assert "outputs/pruned holds 3 trials that its storage knows nothing of; restore journal.log" in ran.stderr
    assert [path for path in sorted(copied.root.rglob("*")) if path.name not in ("journal.log", "controller.lock")] == [
        path for path in before if path.name != "controller.lock"
    ]


def test_a_study_whose_journal_was_torn_goes_on(copied: StudyPaths, pruned_command: Sequence[str]) -> None:
    """The torn line is the last trial's telling: its result is on disk, and is told again."""
    data = copied.journal.read_bytes()
    copied.journal.write_bytes(data[:-7])
    ran = drill(copied.root.parents[1], *pruned_command, quick=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [trial.state.name for trial in opened(copied).trials] == [result.state.value for result in results(copied).values()]
    assert len(list(copied.root.glob("journal.log.damaged-*"))) == 1

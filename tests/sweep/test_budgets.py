"""A study that has spent its budget ends well, says so, and goes on when it is given more; the stand-in trainer trains."""

from __future__ import annotations

import os
from pathlib import Path

import commands
import pytest
from commands import left_alive, results
from gpu_driver import Driver

from harness import records
from harness.paths import StudyPaths
from harness.types import StudyRecord, TrialState

ONE = ("hydra/sweeper/pruner=none", "drill.startup_s=0", "resources.slots=1", "study.name=dear")

LONG = (*ONE, "steps=600", "hydra.sweeper.n_trials=1")


def test_a_study_ends_when_its_gpu_hours_are_spent_and_goes_on_with_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "driver").mkdir()
    Driver(tmp_path / "driver")
    monkeypatch.setenv("PATH", str(tmp_path / "driver"), prepend=os.pathsep)
    dear = (*ONE, "steps=60", "hydra.sweeper.n_trials=50", "resources.gpus_per_slot=1")
    ran = commands.drill(tmp_path, *dear, "budget.gpu_hours=0.001", quick=False)  # 3.6 s: a trial and the beginning of another
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.count("of 0.001 GPU-hours are spent (budget.gpu_hours): no more trials are started") == 1
    assert "Ended before its last trial: 0.00 of 0.001 GPU-hours are spent" in ran.stdout
    study = StudyPaths(tmp_path / "outputs" / "dear")
    first = len(results(study))
    assert 1 <= first < 5
    assert {result.state for result in results(study).values()} == {TrialState.COMPLETE}
    assert records.read(study.record, StudyRecord).stopped
    again = commands.drill(tmp_path, *dear, "budget.gpu_hours=0.001", quick=False)
    assert (again.returncode, len(results(study))) == (0, first), "spent is spent"
    more = commands.drill(tmp_path, *dear, "budget.gpu_hours=0.003", quick=False)
    assert more.returncode == 0
    assert len(results(study)) > first


@pytest.mark.slow
def test_a_launch_whose_time_is_over_stops_with_checkpoints_and_the_next_one_goes_on(tmp_path: Path) -> None:
    ran = commands.drill(tmp_path, *LONG, "budget.wall_hours=0.001", quick=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "of 0.001 hours (budget.wall_hours): the running trials stop at their next step, with a checkpoint" in ran.stdout
    study = StudyPaths(tmp_path / "outputs" / "dear")
    assert results(study) == {}
    assert list(study.trial(0).checkpoints.glob("global_step_*"))
    assert left_alive(study) == []
    whole = commands.drill(tmp_path, *LONG, "drill.step_s=0.002", quick=False)
    assert whole.returncode == 0
    assert [result.state for result in results(study).values()] == [TrialState.COMPLETE]
    assert records.read(study.record, StudyRecord).stopped == ""

"""A large study costs the controller next to nothing beside Optuna, and does not grow it; a supervisor that waits costs nothing."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import commands
import psutil
import pytest

from harness import records
from harness.paths import StudyPaths
from harness.types import Lease

sys.path.insert(0, str(Path(__file__).parents[2]))  # benchmarks are no part of what is installed
from benchmarks import load

EXTRA_CPU_MS = 10.0  # a trial, beyond Optuna's own
RSS_MIB = 500.0
IDLE_SHARE = 0.01  # of a core: 64 of them leave two cores to the trainings


@pytest.mark.parametrize(
    "trials",
    [pytest.param(300, marks=pytest.mark.slow), pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])],
    ids=["300 trials", "10,000 trials"],
)
def test_the_loop_stays_small_and_costs_a_trial_little_beyond_optuna(trials: int) -> None:
    work = load.Work(trials=trials, reports=100, at_once=64)
    loop, plain = load.compare(work)
    optuna_ms, extra_ms = 1000 * plain.cpu_s / trials, load.extra_ms(loop, plain, work)
    print(f"{extra_ms:.2f} ms a trial beyond Optuna's {optuna_ms:.1f}; {loop.peak_mib:.0f} MiB at most")
    assert (loop.reports, plain.reports) == (trials * 100, trials * 100)
    assert extra_ms <= EXTRA_CPU_MS
    assert loop.peak_mib < RSS_MIB
    assert len(set(loop.threads)) == 1
    assert len(set(loop.descriptors)) == 1


@pytest.mark.slow
def test_a_supervisor_that_waits_costs_next_to_nothing(tmp_path: Path) -> None:
    """However many other processes the host has: it never lists them in order to wait."""
    slow = ("drill.startup_s=0", "drill.step_s=30", "steps=30", "limits.stop_grace_s=1", "hydra.sweeper.n_trials=1", "study.name=idle")
    controller = commands.start("verl-sweep", "-m", "experiment=drill", *slow, cwd=tmp_path)
    study = StudyPaths(tmp_path / "outputs" / "idle")
    try:
        commands.wait_until(lambda: list(study.root.glob("trial-0000/attempt-0/metrics.jsonl")), meanwhile=[controller])
        supervisor = psutil.Process(records.read(study.engine(0).lease, Lease).pid)
        time.sleep(2)  # its first look at shared memory is behind it
        before, began = sum(supervisor.cpu_times()[:2]), time.monotonic()
        time.sleep(6)
        share = (sum(supervisor.cpu_times()[:2]) - before) / (time.monotonic() - began)
    finally:
        controller.terminate()
        controller.communicate(timeout=commands.TIMEOUT_S)
    print(f"{100 * share:.2f} % of a core")
    assert share < IDLE_SHARE
    assert commands.left_alive(study) == []

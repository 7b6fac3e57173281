"""Engines that come and go by the hundred, crash, hang, hear nothing and leave orphans behind, leave nothing of theirs in the end."""

from __future__ import annotations

import signal
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import commands
import psutil
import pytest
from commands import engine_specs, left_alive, results

from harness import processes, records
from harness.paths import StudyPaths
from harness.types import EngineResult, Lease

MODES = "crash,hang,deaf,forking,ok,silent"
LIMITS = ("limits.stop_grace_s=1", "limits.term_grace_s=0.3", "hydra.sweeper.max_failure_rate=1")
PACE = ("steps=5", "drill.at=0.9", "drill.startup_s=0.5", "lr=3e-5", "kl_coef=0.003", "rollout_n=16")
CHOICES = ("hydra/sweeper/sampler=random", "hydra/sweeper/pruner=none", "engine.reuse=never", f"drill.mode=choice({MODES})")


@dataclass(slots=True)
class Seen:
    """Of the controller, look by look."""

    rss_mib: list[float] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    zombies: list[int] = field(default_factory=list)
    alive: list[int] = field(default_factory=list)  # supervisors

    def look(self, controller: psutil.Process) -> None:
        children = [_status(child) for child in controller.children()]
        self.rss_mib.append(controller.memory_info().rss / 2**20)
        self.threads.append(controller.num_threads())
        self.descriptors.append(controller.num_fds())
        self.zombies.append(children.count(psutil.STATUS_ZOMBIE))
        self.alive.append(len(children) - self.zombies[-1])


def _status(process: psutil.Process) -> str:
    try:
        return process.status()
    except psutil.Error:
        return psutil.STATUS_DEAD


@pytest.mark.parametrize(
    ("slots", "seconds", "step_s"),
    [pytest.param(8, 10.0, 0.5, marks=pytest.mark.slow), pytest.param(64, 600.0, 5.0, marks=[pytest.mark.slow, pytest.mark.timeout(1500)])],
    ids=["8", "64"],
)
def test_a_soak_leaves_nothing_and_a_controller_of_the_same_size(slots: int, seconds: float, step_s: float, tmp_path: Path) -> None:
    own = (f"resources.slots={slots}", f"hydra.sweeper.n_jobs={slots}", "hydra.sweeper.n_trials=100000", "study.name=soak")
    pace = (f"drill.step_s={step_s}", f"limits.silence_s={2 + 2 * step_s}")
    controller = commands.start("verl-sweep", "-m", "experiment=drill", *CHOICES, *PACE, *LIMITS, *own, *pace, cwd=tmp_path)
    study, process, seen = StudyPaths(tmp_path / "outputs" / "soak"), psutil.Process(controller.pid), Seen()
    try:
        commands.wait_until(lambda: study.engines(), meanwhile=[controller])
        before, until = sum(process.cpu_times()[:2]), time.monotonic() + seconds
        while time.monotonic() < until:
            seen.look(process)
            time.sleep(0.5)
        cpu_s = sum(process.cpu_times()[:2]) - before
    finally:
        controller.send_signal(signal.SIGTERM)
        _, err = controller.communicate(timeout=240)
    told = Counter((result.state.value, result.reason.value) for result in results(study).values())
    ends = [records.read(engine.ended, EngineResult) for engine in study.engines()]
    tenth = max(len(seen.rss_mib) // 10, 1)
    early, late = statistics.median(seen.rss_mib[tenth : 3 * tenth]), statistics.median(seen.rss_mib[-2 * tenth :])
    print(f"{len(ends)} engines, {sum(end.killed > 0 for end in ends)} of them with something to be killed; {dict(told)}")
    print(f"supervisors alive: {statistics.median(seen.alive)}, at most {max(seen.alive)}; zombies in between at most {max(seen.zombies)}")
    print(f"controller: {early:.1f} to {late:.1f} MiB, threads {set(seen.threads)}, descriptors {set(seen.descriptors)}")
    print(f"controller's CPU time: {cpu_s / seconds:.2f} of a core")
    assert "Traceback" not in err, err
    assert left_alive(study) == []
    assert [path for spec in engine_specs(study) if (path := Path(spec.scratch)).exists()] == []
    assert [engine for engine in study.engines() if processes.is_alive(records.read(engine.lease, Lease))] == []
    assert told
    if seconds > 100:  # in ten seconds on a busy host a handful end, of whatever kind
        assert {reason for _, reason in told} >= {"finished", "crashed", "stalled"}
        assert any(end.killed for end in ends)
    assert late - early < 5 + 0.02 * len(ends), "a few KiB for each trial, and no more"
    assert max(seen.threads) - min(seen.threads) <= 1
    assert max(seen.descriptors) - min(seen.descriptors) <= 4
    assert max(seen.zombies) <= slots

"""The project's commands as real processes, and what they leave behind: records and, if something is wrong, living processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import optuna

from harness import records
from harness.metrics import MetricReader
from harness.paths import AttemptPaths, StudyPaths
from harness.processes import COOKIE
from harness.types import EngineSpec, Event, TrialResult
from sweeps import storage

TIMEOUT_S = 120.0
MODULES = {"verl-sweep": "sweeps.app", "verl-study": "analysis.cli"}
QUICK = ("drill.step_s=0.01", "drill.startup_s=0")  # a drill that is over in no time


def start(program: str, *arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """One of the project's console scripts; its module where the project is a checkout in PYTHONPATH and not installed."""
    script = shutil.which(program, path=str(Path(sys.executable).parent))
    # In a session of its own, as a terminal would give it one.
    return subprocess.Popen(
        [*([script] if script else [sys.executable, "-m", MODULES[program]]), *arguments],
        cwd=cwd,
        env=environment(cwd),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(program: str, *arguments: str, cwd: Path, timeout_s: float = TIMEOUT_S) -> subprocess.CompletedProcess[str]:
    """To its end."""
    process = start(program, *arguments, cwd=cwd)
    out, err = process.communicate(timeout=timeout_s)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def drill(cwd: Path, *arguments: str, quick: bool = True) -> subprocess.CompletedProcess[str]:
    """A study over the stand-in trainer."""
    return run("verl-sweep", "-m", "experiment=drill", *(QUICK if quick else ()), *arguments, cwd=cwd)


def environment(cwd: Path) -> dict[str, str]:
    """Ours, without what would lead a command out of its folder, or take seconds at the end of every study (study.report=true does)."""
    own = {"VERL_SWEEP_OUTPUTS", "CUDA_VISIBLE_DEVICES", "PYTHONWARNINGS"}
    kept = {name: value for name, value in os.environ.items() if name not in own}
    return {**kept, "VERL_SWEEP_ASSETS": str(cwd / "assets"), "VERL_SWEEP_REPORT": "false", "COLUMNS": "200"}


def results(study: StudyPaths) -> dict[int, TrialResult]:
    """By trial."""
    return {trial.number: records.read(trial.result, TrialResult) for trial in study.trials() if trial.result.exists()}


def engine_specs(study: StudyPaths) -> list[EngineSpec]:
    return [records.read(engine.command, EngineSpec) for engine in study.engines() if engine.command.exists()]


def opened(study: StudyPaths) -> optuna.Study:
    """As Optuna has it."""
    return optuna.load_study(study_name=study.name, storage=storage.journal(study.journal))


def engine_of(study: StudyPaths, attempt: AttemptPaths) -> list[Event]:
    """What happened to the engine that served an attempt."""
    (given,) = [event for event in records.events(attempt.events) if event.name == "given_slot"]
    return list(records.events(study.engine(given.data["engine"]).events))


def steps_logged(attempt: AttemptPaths) -> list[int]:
    """In their order."""
    return [point.step for point in MetricReader(attempt.metrics).new_points()]


def left_alive(study: StudyPaths) -> list[int]:
    """Processes that carry the cookie of one of the study's engines."""
    return carriers(*(spec.engine for spec in engine_specs(study)))


def assert_nothing_left(study: StudyPaths) -> None:
    """No process, no temporary folder."""
    assert left_alive(study) == []
    assert [spec.scratch for spec in engine_specs(study) if Path(spec.scratch).exists()] == []


def carriers(*engines: str) -> list[int]:
    """Processes that carry the cookie of one of these engines."""
    cookies = {f"{COOKIE}={engine}".encode() for engine in engines}
    return [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit() and cookies & _environment_of(folder)]


def listing(folder: Path) -> list[str]:
    """Everything below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def wait_until(condition: Callable[[], object], *, meanwhile: Iterable[subprocess.Popen[str]] = (), patience_s: float = TIMEOUT_S) -> None:
    """Fails where it never comes true, or one of the processes that should bring it about has ended."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        assert all(process.poll() is None for process in meanwhile), "the process ended before"
        time.sleep(0.05)


def _environment_of(process: Path) -> set[bytes]:
    try:
        return set((process / "environ").read_bytes().split(b"\0"))
    except OSError:
        return set()

"""Whatever ends an engine, nothing of it is left: trees that hide, fork and refuse to die; the death of the supervisor; two supervisors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import commands
import psutil
import pytest

from harness import cgroups, processes, records
from harness.engine import Assignment
from harness.launchers.local import LocalEngines
from harness.paths import AttemptPaths, EnginePaths, StudyPaths
from harness.types import AttemptResult, AttemptSpec, EngineResult, EngineSpec, Lease, Limits, Reason, RunState, Slot

PATIENCE_S = 30.0
# root -> a session of its own -> one that ignores SIGTERM -> one forked twice, in a third session; each holds a file in shared memory and a
# port, and has another file there that it does not map, as CUDA's driver makes them; one writes into the capsule's temporary folder.
# `flees` forks for ever, each child in a session of its own, its parent gone.
HOSTILE = """
import mmap, os, signal, socket, sys, tempfile, time
from pathlib import Path
def holds(name):
    file = os.open(f"/dev/shm/verl-sweep-test-{os.getpid()}", os.O_CREAT | os.O_RDWR)
    os.ftruncate(file, 4096)
    Path(f"/dev/shm/cuda.shm.{os.getuid():x}.{os.getpid():x}.1").write_text("x")
    globals().setdefault("kept", []).append((mmap.mmap(file, 4096), socket.create_server(("127.0.0.1", 0))))
    (Path(sys.argv[2]) / name).write_text(str(os.getpid()))
def sleep():
    while True:
        time.sleep(3600)
Path(tempfile.gettempdir(), "left-behind").write_text("x")
if sys.argv[1] == "flees":
    if os.fork() == 0:
        (Path(sys.argv[2]) / "orphan").write_text("0")
        while True:
            if os.fork():
                os._exit(0)
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sleep()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                holds("orphan")
                sleep()
            os._exit(0)
        os.wait()
        holds("deaf")
        sleep()
    holds("session")
    sleep()
holds("root")
sleep()
"""
# A supervisor whose user may not make control groups.
UNGROUPED = "from harness import cgroups, supervisor; cgroups.make = lambda name: None; supervisor.main()"


@pytest.fixture
def launcher() -> LocalEngines:
    return LocalEngines((Slot(index=0),))


@pytest.fixture
def study(tmp_path: Path) -> Iterator[StudyPaths]:
    study = StudyPaths(tmp_path / "study")
    yield study
    for engine in study.engines():  # a failing test leaves nothing behind
        for pid in commands.carriers(records.read(engine.command, EngineSpec).engine):
            os.kill(pid, signal.SIGKILL)


def hostile(study: StudyPaths, number: int, *, kind: str = "hides") -> EnginePaths:
    paths = study.engine(number)
    paths.inbox.mkdir(parents=True)
    (paths.root / "pids").mkdir()
    spec = EngineSpec(
        engine=f"{study.root.parent.name}-{number}",
        slot=Slot(index=0),
        argv=(sys.executable, "-S", "-c", HOSTILE, kind, str(paths.root / "pids")),
        environment={},
        scratch=str(study.root / f"scratch-{number}"),
        limits=Limits(term_grace_s=0.2),
        fingerprint="0",
        serves=9,
    )
    records.write(paths.command, spec)
    return paths


def drilled(study: StudyPaths, number: int, *, steps: int = 5000) -> tuple[EnginePaths, AttemptPaths]:
    """An engine of the stand-in trainer with one attempt."""
    paths = hostile(study, number)
    spec = records.read(paths.command, EngineSpec)
    argv = (sys.executable, "-m", "harness.drill", str(paths.root))
    records.replace(paths.command, EngineSpec(**{**{name: getattr(spec, name) for name in EngineSpec.__dataclass_fields__}, "argv": argv}))
    attempt = study.trial(number).attempt(0)
    attempt.root.mkdir(parents=True)
    config = {
        "actor_rollout_ref": {"actor": {"optim": {"lr": 3e-5}, "kl_loss_coef": 1e-3}, "rollout": {"n": 8}},
        "algorithm": {"use_kl_in_reward": False},
        "data": {"seed": 1},
        "trainer": {"total_training_steps": steps, "test_freq": 1},
        "drill": {"mode": "ok", "startup_s": 0.0, "step_s": 0.02, "noise": 0.0, "at": 0.5, "source": "drill"},
    }
    environment = {"VERL_FILE_LOGGER_PATH": str(attempt.metrics)}
    records.write(
        attempt.spec, AttemptSpec(study="s", trial=number, attempt=0, run_id="r", environment=environment, fingerprint="0", config=config)
    )
    records.write(paths.assignment(0), Assignment(attempt=str(attempt.root)))
    return paths, attempt


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def survivors(paths: EnginePaths) -> list[object]:
    """Processes, files in shared memory, temporary files and control groups of an engine; zombies too, but for those that init buries."""
    spec = records.read(paths.command, EngineSpec)
    pids = [int(file.read_text()) for file in (paths.root / "pids").iterdir()]
    group = next((event.data["group"] for event in records.events(paths.events) if event.name == "started"), None)
    left: list[object] = list(commands.carriers(spec.engine))
    left += [pid for pid in pids if pid and psutil.pid_exists(pid) and psutil.Process(pid).ppid() != 1]
    shared = [Path("/dev/shm", name) for pid in pids for name in (f"verl-sweep-test-{pid}", f"cuda.shm.{os.getuid():x}.{pid:x}.1")]
    left += [path for path in shared if path.exists()]
    left += [path for path in (spec.scratch, group) if path is not None and Path(path).exists()]
    return left


def running(launcher: LocalEngines, paths: EnginePaths, names: int, *, started: bool = False) -> None:
    if not started:
        launcher.start(paths)
    until(lambda: len(list((paths.root / "pids").glob("[!.]*"))) == names and paths.lease.exists())


def events(paths: EnginePaths) -> list[str]:
    return [event.name for event in records.events(paths.events)]


@pytest.mark.parametrize("grouped", [True, False], ids=["control group", "no control group"])
@pytest.mark.parametrize(("kind", "names"), [("hides", 4), ("flees", 1)])
def test_a_hostile_tree_ends_whole(launcher: LocalEngines, study: StudyPaths, kind: str, names: int, grouped: bool) -> None:
    probe = cgroups.make("probe")
    cgroups.remove(probe)
    if grouped and probe is None:
        pytest.skip("this user may not make control groups here")
    paths = hostile(study, 0, kind=kind)
    alone = None if grouped else subprocess.Popen([sys.executable, "-c", UNGROUPED, str(paths.root)])
    running(launcher, paths, names, started=alone is not None)
    launcher.end(paths)
    until(lambda: not launcher.is_alive(paths))
    if alone is not None:
        alone.wait(PATIENCE_S)
    assert survivors(paths) == []
    if kind == "hides":
        assert {"sigterm", "sigkill", "swept"} <= set(events(paths))
        assert records.read(paths.ended, EngineResult).killed == 2


def test_a_control_group_goes_though_threads_of_its_last_process_still_end() -> None:
    """The process counts as a zombie by then, and the kernel refuses to remove the group for some tens of milliseconds."""
    if (probe := cgroups.make("probe")) is None:
        pytest.skip("this user may not make control groups here")
    cgroups.remove(probe)
    many = (
        "import threading, time; kept = bytearray(10**8); "
        "[threading.Thread(target=time.sleep, args=(99,)).start() for _ in range(50)]; print(flush=True)"
    )
    for number in range(10):
        group = cgroups.make(f"threads-{os.getpid()}-{number}")
        assert group is not None
        with subprocess.Popen([sys.executable, "-c", many], stdout=subprocess.PIPE, preexec_fn=partial(cgroups.enter, group)) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.kill()
            until(lambda process=process: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
            assert cgroups.remove(group)
            assert not group.exists()


def test_a_neighbours_engine_is_left_alone(launcher: LocalEngines, study: StudyPaths) -> None:
    one, other = hostile(study, 0), hostile(study, 1)
    running(launcher, one, 4)
    running(launcher, other, 4)
    launcher.end(one)
    until(lambda: not launcher.is_alive(one))
    assert survivors(one) == []
    assert len(commands.carriers(records.read(other.command, EngineSpec).engine)) == 4
    launcher.end(other)
    until(lambda: not launcher.is_alive(other))
    assert survivors(other) == []


def test_the_supervisors_own_death_is_cleaned_up_and_its_attempt_is_lost(launcher: LocalEngines, study: StudyPaths) -> None:
    paths, attempt = drilled(study, 0)
    launcher.start(paths)
    until(attempt.metrics.exists)
    os.kill(records.read(paths.lease, Lease).pid, signal.SIGKILL)
    until(lambda: not launcher.is_alive(paths))
    assert survivors(paths) == []
    result = records.read(attempt.result, AttemptResult)
    assert (result.state, result.reason, result.forced) == (RunState.FAILED, Reason.LOST, True)
    assert records.read(paths.ended, EngineResult).exit_code is None
    assert events(paths)[:2] == ["started", "supervisor_lost"]


def test_what_a_dead_supervisor_left_is_cleaned_up_by_the_next_controller(launcher: LocalEngines, study: StudyPaths) -> None:
    paths = hostile(study, 0)
    running(launcher, paths, 4)
    until(lambda: "shared" in events(paths))
    os.kill(records.read(paths.lease, Lease).pid, signal.SIGKILL)
    until(lambda: not processes.is_alive(records.read(paths.lease, Lease)))
    newcomer = LocalEngines(launcher.slots())
    until(lambda: not newcomer.is_alive(paths))
    assert survivors(paths) == []
    launcher.is_alive(paths)  # buries its child


def test_an_engine_is_started_once_though_two_controllers_ask_for_it(launcher: LocalEngines, study: StudyPaths) -> None:
    paths, attempt = drilled(study, 0, steps=20)
    newcomer = LocalEngines(launcher.slots())
    launcher.start(paths)
    newcomer.start(paths)
    until(attempt.result.exists)
    paths.leave.touch()
    until(lambda: not (launcher.is_alive(paths) or newcomer.is_alive(paths)))
    assert events(paths).count("started") == 1
    assert [event.name for event in records.events(attempt.events)].count("accepted") == 1


def test_an_attempt_that_no_engine_took_has_no_result(launcher: LocalEngines, study: StudyPaths) -> None:
    """Its engine dies of something else while the attempt waits in the inbox: it is handed to another."""
    paths, first = drilled(study, 0, steps=3)
    launcher.start(paths)
    until(first.result.exists)
    root = next(event.data["pid"] for event in records.events(paths.events) if event.name == "started")
    os.kill(root, signal.SIGSTOP)
    _, second = drilled(study, 1)
    records.write(paths.assignment(1), Assignment(attempt=str(second.root)))
    os.kill(root, signal.SIGKILL)
    until(lambda: not launcher.is_alive(paths))
    assert first.result.exists()
    assert not second.result.exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hundred_hostile_trees_leave_nothing(launcher: LocalEngines, study: StudyPaths) -> None:
    slowest = 0.0
    for number in range(100):
        kind, names = ("hides", 4) if number % 4 else ("flees", 1)
        paths = hostile(study, number, kind=kind)
        running(launcher, paths, names)
        began = time.monotonic()
        launcher.end(paths)
        until(lambda paths=paths: not launcher.is_alive(paths))
        slowest = max(slowest, time.monotonic() - began)
        assert survivors(paths) == []
    print(f"100 trees ended, the slowest in {slowest:.1f} s")
    assert [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE] == []

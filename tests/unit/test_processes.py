"""Whatever a process starts is found and ended, however it hides; a pid alone is nobody's name."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from harness import processes
from harness.types import Lease

# Each process tells its pid in a file before it sleeps. `deaf` ignores SIGTERM.
PRELUDE = """
import os, signal, subprocess, sys, time
from pathlib import Path
def deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
def here(name):
    (Path(os.environ["PIDS"]) / f".{name}").write_text(str(os.getpid()))
    (Path(os.environ["PIDS"]) / f".{name}").rename(Path(os.environ["PIDS"]) / name)
def sleep():
    time.sleep(3600)
"""
# root -> child in a session of its own -> grandchild that ignores SIGTERM -> great-grandchild, twice forked and in a third session
FOUR_DEEP = """
here("root")
if os.fork() == 0:
    os.setsid()
    here("session")
    if os.fork() == 0:
        deaf()
        here("deaf")
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                deaf()
                here("orphan")
                sleep()
            os._exit(0)
        os.wait()
        sleep()
    sleep()
sleep()
"""
DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        here("daemon")
        sleep()
    os._exit(0)
os.wait()
"""
# What a supervisor does, in a process of its own, for it adopts orphans and reaps: argv is the program of the tree.
WARDEN = """
import json, os, subprocess, sys, time
from pathlib import Path
from harness import processes
processes.adopt_orphans()
cookie, program, names = sys.argv[1], sys.argv[2], sys.argv[3].split(",")
root = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, processes.COOKIE: cookie}, start_new_session=True)
while not all((Path(os.environ["PIDS"]) / name).exists() for name in names):
    time.sleep(0.02)
if sys.argv[5] == "ended":
    os.waitid(os.P_PID, root.pid, os.WEXITED | os.WNOWAIT)
rungs = []
killed = processes.end_tree(cookie, root.pid, term_grace_s=float(sys.argv[4]), log=lambda name, **data: rungs.append([name, data["pids"]]))
print(json.dumps({"killed": killed, "rungs": rungs, "exit": root.wait(), "left": [p.pid for p in processes.descendants(cookie)]}))
"""


@dataclasses.dataclass(frozen=True)
class Ended:
    killed: int
    rungs: list[tuple[str, list[int]]]
    exit: int
    left: list[int]


@pytest.fixture
def cookie(tmp_path: Path) -> Iterator[str]:
    """Of this test alone; whatever still carries it afterwards is killed, so that a failing test leaves nothing behind."""
    cookie = f"test-{secrets.token_hex(8)}"
    yield cookie
    for process in processes.descendants(cookie):
        process.kill()


def end(program: str, names: str, cookie: str, pids: Path, *, term_grace_s: float, when: str = "ready") -> Ended:
    argv = [sys.executable, "-c", WARDEN, cookie, PRELUDE + program, names, str(term_grace_s), when]
    done = subprocess.run(argv, env={**os.environ, "PIDS": str(pids)}, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    return Ended(killed=told["killed"], rungs=[(name, pids) for name, pids in told["rungs"]], exit=told["exit"], left=told["left"])


def pid_of(name: str, folder: Path) -> int:
    return int((folder / name).read_text())


def runs(pid: int) -> bool:
    """Whether there is more left of it than a zombie that nobody has buried."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_tree_four_deep_ends_whole_though_it_forks_twice_and_ignores_sigterm(cookie: str, tmp_path: Path) -> None:
    ended = end(FOUR_DEEP, "root,session,deaf,orphan", cookie, tmp_path, term_grace_s=0.5)
    everybody = {pid_of(name, tmp_path) for name in ("root", "session", "deaf", "orphan")}
    assert [name for name, _ in ended.rungs] == ["sigterm", "sigkill"]
    assert set(ended.rungs[0][1]) >= everybody
    assert set(ended.rungs[1][1]) == {pid_of("deaf", tmp_path), pid_of("orphan", tmp_path)}
    assert ended.killed == 2
    assert ended.left == []
    assert not [pid for pid in everybody if runs(pid)]


def test_who_hears_sigterm_is_not_killed(cookie: str, tmp_path: Path) -> None:
    ended = end("here('root'); sleep()", "root", cookie, tmp_path, term_grace_s=30.0)
    assert [name for name, _ in ended.rungs] == ["sigterm"]
    assert (ended.killed, ended.exit, ended.left) == (0, -15, [])


def test_without_a_grace_everybody_is_killed_at_once(cookie: str, tmp_path: Path) -> None:
    ended = end(FOUR_DEEP, "root,session,deaf,orphan", cookie, tmp_path, term_grace_s=0.0)
    assert {name for name, _ in ended.rungs} == {"sigkill"}
    assert (ended.exit, ended.left) == (-9, [])


def test_a_tree_that_has_ended_has_no_rungs(cookie: str, tmp_path: Path) -> None:
    ended = end("here('root'); raise SystemExit(3)", "root", cookie, tmp_path, term_grace_s=30.0, when="ended")
    assert (ended.killed, ended.exit, ended.left) == (0, 3, [])


def test_who_carries_the_cookie_is_found_though_it_is_nobodys_child(cookie: str, tmp_path: Path) -> None:
    """A double fork away from a process that has ended, as a daemon does it; this process adopts no orphans."""
    subprocess.run(
        [sys.executable, "-c", PRELUDE + DAEMON], env={**os.environ, "PIDS": str(tmp_path), processes.COOKIE: cookie}, check=True
    )
    while not (tmp_path / "daemon").exists():
        time.sleep(0.02)
    daemon = pid_of("daemon", tmp_path)
    assert psutil.Process(daemon).ppid() != os.getpid()
    assert [process.pid for process in processes.descendants(cookie)] == [daemon]
    assert processes.descendants(f"{cookie}-another") == []


def test_my_lease_is_alive() -> None:
    assert processes.is_alive(processes.my_lease())


def test_a_recycled_pid_is_not_taken_for_the_one_that_took_the_lease() -> None:
    lease = processes.my_lease()
    assert not processes.is_alive(dataclasses.replace(lease, started=lease.started - 10))


@pytest.mark.parametrize("other", [{"boot_id": "another boot"}, {"host": "another host"}])
def test_a_lease_from_elsewhere_is_not_alive_here(other: dict[str, str]) -> None:
    assert not processes.is_alive(dataclasses.replace(processes.my_lease(), **other))


def test_no_lease_is_nobody() -> None:
    assert not processes.is_alive(None)


def test_a_process_that_ended_is_not_alive_even_before_it_is_buried() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    mine = processes.my_lease()
    lease = Lease(pid=child.pid, started=psutil.Process(child.pid).create_time(), boot_id=mine.boot_id, host=mine.host)
    assert processes.is_alive(lease)
    child.communicate(b"\n")
    assert not processes.is_alive(lease)

    zombie = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(zombie.pid)
    lease = dataclasses.replace(lease, pid=zombie.pid, started=process.create_time())
    while process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.02)
    assert not processes.is_alive(lease)
    zombie.wait()


def test_a_file_of_cudas_driver_is_its_makers_and_not_that_of_an_earlier_process_of_its_number() -> None:
    """Numbers of processes come again, and in another container at the same time."""
    mine = processes.SHARED_MEMORY / f"cuda.shm.{os.getuid():x}.{os.getpid():x}.f00d"
    started = psutil.Process().create_time()
    mine.touch()
    try:
        assert str(mine) in processes.shared_files([psutil.Process()])
        later = psutil.Process()
        later._create_time = started + 3600  # as of another one of this number that has just begun
        assert str(mine) not in processes.shared_files([later])
        assert processes.sweep({str(mine)}) == [], "its maker lives"
    finally:
        mine.unlink()

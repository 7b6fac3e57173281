"""Who is alive, who belongs to whom, and the ladder that ends a process tree; the one place that sends signals."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import re
import select
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import psutil

from harness import cgroups
from harness.types import Lease

COOKIE = "VERL_SWEEP_ENGINE"  # in the environment of everything that an engine starts
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (the host's, by that name)
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_CHASE_S, _QUIET_ROUNDS = 0.1, 3  # the teardown of a process takes tens of milliseconds on a busy host
_CLOCKS_S = 1.0  # by which a file's time and a process's may differ
_TOLD = 50  # pids in one event at most
_SHARED = re.compile(r"(/dev/shm/\S+)$", re.MULTILINE)
_DRIVERS = re.compile(r"cuda\.shm\.[0-9a-f]+\.(?P<pid>[0-9a-f]+)\.[0-9a-f]+")  # user, process and number, all hexadecimal
_ANONYMOUS = re.compile(r"^RssAnon:\s+(\d+) kB", re.MULTILINE)


def my_lease() -> Lease:
    """This process's own."""
    return Lease(pid=os.getpid(), started=psutil.Process().create_time(), boot_id=_boot_id(), host=socket.gethostname())


def is_alive(lease: Lease | None) -> bool:
    """Whether the very process that took the lease still lives on this host, not another one of its number."""
    if lease is None or lease.host != socket.gethostname() or lease.boot_id != _boot_id():
        return False
    try:
        process = psutil.Process(lease.pid)
        return abs(process.create_time() - lease.started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def adopt_orphans() -> None:
    """Makes this process the parent of every descendant whose own parent dies (prctl(2), PR_SET_CHILD_SUBREAPER)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def die_with_parent() -> None:
    """To be run in a new child: kills this process when its parent dies, whatever ends that (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def oom_kills() -> int:
    """Processes of this host that the kernel has killed for want of memory since its start (proc(5), /proc/vmstat)."""
    try:
        counts = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    except OSError:
        return 0
    return int(counts.get("oom_kill", 0))


def descendants(cookie: str) -> list[psutil.Process]:
    """All that this process has started, directly or not, and whatever carries the cookie though it got away."""
    return members(cookie)


def memory_mib(cookie: str) -> int:
    """Private to one process each, as the kernel counts it, of all that carry the cookie. A few milliseconds."""
    carriers = (process.pid for process in psutil.process_iter() if _carries(process, cookie))
    return sum(map(_anonymous_kib, carriers)) // 1024


def available_mib() -> int:
    """What new processes of this host could use."""
    return int(psutil.virtual_memory().available) // 2**20


def total_mib() -> int:
    """The host's memory."""
    return int(psutil.virtual_memory().total) // 2**20


def end_tree(cookie: str, root: int | None, *, group: Path | None = None, term_grace_s: float, log: Callable[..., object]) -> int:
    """SIGTERM to every process of the tree, then SIGKILL until nothing of it is left; returns how many had to be killed.

    `root` is this process's own child at its top, if it has one, whose exit status is left to the caller; `group` is the tree's control
    group, if it has one; `log(name, **data)` hears of each rung.
    """
    left = members(cookie, group)
    shared = shared_files(left)
    if left and term_grace_s > 0:
        log("sigterm", pids=[process.pid for process in left])
        for process in left:
            _signal(process, signal.SIGTERM)
        left = _wait_until_gone(cookie, root, group, term_grace_s)
    killed: set[int] = set()
    quiet = 0  # rounds in a row that found nothing
    while True:  # a child that forks while it is killed leaves another one to kill
        shared |= shared_files(left)
        cgroups.kill(group)
        for process in _found(cookie, group):
            _signal(process, signal.SIGKILL)
        chased = set(cgroups.pids(group)) if group is not None else _kill_children(root)
        fresh = ({process.pid for process in left} | chased) - killed
        if fresh:
            log("sigkill", pids=sorted(fresh)[:_TOLD])
            killed |= fresh
        left = _wait_until_gone(cookie, root, group, 0.2)
        quiet = 0 if left or fresh else quiet + 1
        if quiet >= (1 if group is not None else _QUIET_ROUNDS):
            break
    cgroups.remove(group)
    if swept := sweep(shared):
        log("swept", files=swept)
    return len(killed)


def _kill_children(root: int | None) -> set[int]:
    """SIGKILL to whatever is this process's own child now, again and again for a moment; `root` is left out, for it may have ended.

    Orphans become children of this process (`adopt_orphans`), so one that forks and dies faster than a list of all processes is read is met
    here, as soon as its parent is gone.
    """
    killed: set[int] = set()
    until = time.monotonic() + _CHASE_S
    while time.monotonic() < until:
        found = [pid for pid in _children() if pid != root and not _bury(pid)]
        if not found:
            time.sleep(0.0005)
        for pid in found:
            killed.add(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return killed


def shared_files(processes: Iterable[psutil.Process]) -> set[str]:
    """What these processes have mapped of the host's shared memory by name, and what CUDA's driver keeps there for them unmapped."""
    found: set[str] = set()
    began = {process.pid: process.create_time() for process in processes}
    for pid in began:
        with contextlib.suppress(OSError):
            found.update(_SHARED.findall(Path(f"/proc/{pid}/maps").read_text()))
    with contextlib.suppress(OSError):
        found.update(str(path) for path in SHARED_MEMORY.glob("cuda.shm.*") if _is_made_for(path, began))
    return found


def _is_made_for(path: Path, began: Mapping[int, float]) -> bool:
    """Whether CUDA's driver made a file for one of these: only its name says whose it is, and an older one was another's of that number."""
    name = _DRIVERS.fullmatch(path.name)
    start = began.get(int(name["pid"], 16)) if name else None
    try:
        return start is not None and path.stat().st_ctime >= start - _CLOCKS_S
    except FileNotFoundError:
        return False


def sweep(files: set[str]) -> list[str]:
    """Removes those that are still there and that no living process has."""
    there = {file for file in files if Path(file).exists()}
    if there:
        there -= shared_files(process for process in psutil.process_iter() if _running(process))
    for file in there:
        Path(file).unlink(missing_ok=True)
    return sorted(there)


def members(cookie: str, group: Path | None = None) -> list[psutil.Process]:
    """All that belongs to an engine: what this process has started, directly or not, what carries the cookie, what is in the group."""
    return list({process.pid: process for process in _found(cookie, group)}.values())


def _found(cookie: str, group: Path | None) -> Iterator[psutil.Process]:
    """One after the other as they are found: a list of processes that fork is old when it is complete."""
    own = {process.pid for process in psutil.Process().children(recursive=True)} | set(cgroups.pids(group))
    for process in psutil.process_iter():
        if process.pid != os.getpid() and (process.pid in own or _carries(process, cookie)) and _running(process):
            yield process


def reap(spare: int | None) -> None:
    """Buries every adopted child that ended; `spare` is the child whose exit status somebody else waits for."""
    for pid in _children():
        if pid != spare:
            _bury(pid)


def _bury(pid: int) -> bool:
    """Whether this process's child has ended; then it is gone for good."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _children() -> list[int]:
    """This process's own. From one file: a list of all the host's processes takes milliseconds, and a supervisor looks often."""
    return list(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))


def wait_for_end(pid: int, seconds: float) -> None:
    """Sleeps so long, or until this process's child ends."""
    try:
        end = os.pidfd_open(pid)
    except OSError:  # no such child any more, or a kernel before 5.3
        time.sleep(seconds)
        return
    try:
        select.select([end], [], [], seconds)
    finally:
        os.close(end)


def _wait_until_gone(cookie: str, root: int | None, group: Path | None, seconds: float) -> list[psutil.Process]:
    deadline = time.monotonic() + seconds
    while True:
        reap(spare=root)
        left = members(cookie, group)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)


def _running(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _anonymous_kib(pid: int) -> int:
    try:
        found = _ANONYMOUS.search(Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0


def _carries(process: psutil.Process, cookie: str) -> bool:
    try:
        environment = Path(f"/proc/{process.pid}/environ").read_bytes()
    except OSError:
        return False
    return f"{COOKIE}={cookie}".encode() in environment.split(b"\0")


@functools.cache
def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()

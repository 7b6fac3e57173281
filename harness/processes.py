"""Who is alive, who belongs to whom, and the ladder that ends a process tree; the one place that sends signals."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from harness.types import Lease

COOKIE = "VERL_SWEEP_ENGINE"  # in the environment of everything that an engine starts
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
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


def descendants(cookie: str) -> list[psutil.Process]:
    """All that this process has started, directly or not, and whatever carries the cookie though it got away."""
    found = {process.pid: process for process in psutil.Process().children(recursive=True)}
    for process in psutil.process_iter():
        if process.pid not in found and process.pid != os.getpid() and _carries(process, cookie):
            found[process.pid] = process
    return [process for process in found.values() if _running(process)]


def memory_mib(cookie: str) -> int:
    """Private to one process each, as the kernel counts it, of all that carry the cookie. A few milliseconds."""
    carriers = (process.pid for process in psutil.process_iter() if _carries(process, cookie))
    return sum(map(_anonymous_kib, carriers)) // 1024


def available_mib() -> int:
    """What new processes of this host could use."""
    return int(psutil.virtual_memory().available) // 2**20


def end_tree(cookie: str, root: int | None, *, term_grace_s: float, log: Callable[..., object]) -> int:
    """SIGTERM to every process of the tree, then SIGKILL until nothing of it is left; returns how many had to be killed.

    `root` is this process's own child at its top, if it has one, whose exit status is left to the caller; `log(name, **data)` hears of each
    rung.
    """
    left = descendants(cookie)
    if left and term_grace_s > 0:
        log("sigterm", pids=[process.pid for process in left])
        _signal(left, signal.SIGTERM)
        left = _wait_until_gone(cookie, root, term_grace_s)
    killed = 0
    while left:  # a child that forks while it is killed leaves another one to kill
        log("sigkill", pids=[process.pid for process in left])
        _signal(left, signal.SIGKILL)
        killed += len(left)
        left = _wait_until_gone(cookie, root, 1.0)
    return killed


def reap(spare: int | None) -> None:
    """Buries every adopted child that ended; `spare` is the child whose exit status somebody else waits for."""
    for child in psutil.Process().children():
        if child.pid != spare and not _running(child):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child.pid, os.WNOHANG)


def _wait_until_gone(cookie: str, root: int | None, seconds: float) -> list[psutil.Process]:
    deadline = time.monotonic() + seconds
    while True:
        reap(spare=root)
        left = descendants(cookie)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
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

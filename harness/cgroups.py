"""One control group for each engine, where this user may make them (cgroups(7), version 2): forks stay in it, and one write kills all.

Everything here answers None, nothing or False where there is no such group: there are other ways to find an engine's processes.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

_PATIENCE_S = 5.0
_MOUNTS, _OWN = Path("/proc/self/mountinfo"), Path("/proc/self/cgroup")


def make(name: str) -> Path | None:
    """A new group below this process's own."""
    own = _own()
    if own is None:
        return None
    group = own / f"verl-sweep-{name}"
    try:
        group.mkdir(exist_ok=True)
    except OSError:
        return None
    if not os.access(group / "cgroup.kill", os.W_OK):  # Linux 5.14
        remove(group)
        return None
    return group


def enter(group: Path) -> None:
    """Moves this process into the group, with all that it will start."""
    with contextlib.suppress(OSError):
        (group / "cgroup.procs").write_text("0")


def pids(group: Path | None) -> list[int]:
    """Of the processes in the group."""
    if group is None:
        return []
    try:
        return [int(line) for line in (group / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def kill(group: Path | None) -> None:
    """SIGKILL to every process of the group, those that are just being forked included."""
    if group is not None:
        with contextlib.suppress(OSError):
            (group / "cgroup.kill").write_text("1")


def remove(group: Path | None) -> bool:
    """Possible only once it is empty, and a process that counts as ended may have threads in it that still end: waits for those a while."""
    deadline = time.monotonic() + _PATIENCE_S
    while group is not None:
        try:
            group.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        else:
            return True
    return False


def memory_limit_mib() -> int | None:
    """The least limit (memory.max) on this process, its own group's or one's above it; None where there is none."""
    own = _own()
    groups = (own, *own.parents) if own is not None else ()
    limits = [text for group in groups if (text := _read(group / "memory.max")) not in ("", "max")]
    return min(map(int, limits)) // 2**20 if limits else None


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _own() -> Path | None:
    """The folder of the group that this process is in."""
    try:
        mounts = [line.split() for line in _MOUNTS.read_text().splitlines()]
        within = [line.removeprefix("0::") for line in _OWN.read_text().splitlines() if line.startswith("0::")]
    except OSError:
        return None
    places = [fields[4] for fields in mounts if "cgroup2" in fields[fields.index("-") + 1 :][:1]]
    return Path(places[0]) / within[0].lstrip("/") if places and within else None

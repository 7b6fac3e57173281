"""What an engine's processes use between two attempts, and whether that is still what it was after the first one."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from harness import processes

LEAST_GROWTH_MIB = 2048  # a larger batch than the first attempt's leaves a larger heap
_MORE_PROCESSES = 4  # Ray keeps a few idle workers of its own
_ANONYMOUS = re.compile(r"^RssAnon:\s+(\d+) kB", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Footprint:
    """Of an engine's whole process tree."""

    processes: int
    memory_mib: int  # private to one process each, as the kernel counts it


def footprint(engine: str) -> Footprint:
    """`engine` is the name in the environment of all that it started. A few milliseconds."""
    pids = [os.getpid(), *(process.pid for process in processes.descendants(engine))]
    return Footprint(processes=len(pids), memory_mib=sum(map(_anonymous_kib, pids)) // 1024)


def fault(first: Footprint, now: Footprint, *, growth: float) -> str | None:
    """Why the engine should be replaced; pure. `growth` is the share of its first memory that it may gain."""
    allowed = max(LEAST_GROWTH_MIB, int(growth * first.memory_mib))
    if now.memory_mib > first.memory_mib + allowed:
        return f"its processes use {now.memory_mib} MiB, {first.memory_mib} after its first attempt, and may gain {allowed}"
    if now.processes > first.processes + _MORE_PROCESSES:
        return f"it has {now.processes} processes, {first.processes} after its first attempt"
    return None


def _anonymous_kib(pid: int) -> int:
    with contextlib.suppress(OSError):
        found = _ANONYMOUS.search(Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) if found else 0
    return 0

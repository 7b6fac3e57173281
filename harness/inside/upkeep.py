"""What an engine's processes use between two attempts, and whether that is still what it was after the first one."""

from __future__ import annotations

from dataclasses import dataclass

from harness import processes

LEAST_GROWTH_MIB = 2048  # a larger batch than the first attempt's leaves a larger heap
_MORE_PROCESSES = 4  # Ray keeps a few idle workers of its own


@dataclass(frozen=True, kw_only=True, slots=True)
class Footprint:
    """Of an engine's whole process tree."""

    processes: int
    memory_mib: int  # private to one process each, as the kernel counts it


def footprint(engine: str) -> Footprint:
    """`engine` is the name in the environment of all that it started. A few milliseconds."""
    return Footprint(processes=1 + len(processes.descendants(engine)), memory_mib=processes.memory_mib(engine))


def fault(first: Footprint, now: Footprint, *, growth: float) -> str | None:
    """Why the engine should be replaced; pure. `growth` is the share of its first memory that it may gain."""
    allowed = max(LEAST_GROWTH_MIB, int(growth * first.memory_mib))
    if now.memory_mib > first.memory_mib + allowed:
        return f"its processes use {now.memory_mib} MiB, {first.memory_mib} after its first attempt, and may gain {allowed}"
    if now.processes > first.processes + _MORE_PROCESSES:
        return f"it has {now.processes} processes, {first.processes} after its first attempt"
    return None

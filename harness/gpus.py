"""What NVIDIA's driver says of this host's GPUs, by its own tool; silent where there is none."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError

DEVICES = Path("/sys/bus/pci/devices")
_PATIENCE_S = 30.0  # a driver that hangs is one that does not answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Of one GPU, in MiB."""

    used: int
    total: int


def visible() -> tuple[str, ...]:
    """The values of CUDA_VISIBLE_DEVICES where it is set, else every index that the driver lists; empty without a driver."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return tuple(name.strip() for name in chosen.split(",") if name.strip() and name.strip() != "-1")
    try:
        return tuple(_ask("index").split())
    except HarnessError:
        return ()


def memory(gpus: Sequence[str]) -> tuple[Memory, ...]:
    """Of each of these GPUs (indices or UUIDs), whoever uses it. Raises HarnessError where the driver does not answer."""
    if not gpus:
        return ()
    lines = _ask("memory.used,memory.total", f"--id={','.join(gpus)}").splitlines()
    try:
        pairs = [[int(number) for number in line.split(",")] for line in lines if line.strip()]
        return tuple(Memory(used=used, total=total) for used, total in pairs)
    except ValueError as error:
        raise HarnessError(f"nvidia-smi: expected used and total memory of GPU {', '.join(gpus)}, got {lines}") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a GPU is plugged in."""

    node: int  # of memory and processors (NUMA); -1 where the host has only one
    cpus: frozenset[int]  # nearest to it; empty where that is not known


def places(gpus: Sequence[str]) -> tuple[Place, ...]:
    """Of each of these GPUs, as the kernel tells; empty where driver or kernel do not."""
    if not gpus:
        return ()
    try:
        buses = _ask("pci.bus_id", f"--id={','.join(gpus)}").split()
        return tuple(_place(DEVICES / _kernels_name(bus)) for bus in buses)
    except (HarnessError, OSError, ValueError):
        return ()


def near_cpus(gpus: Sequence[str]) -> frozenset[int]:
    """The processors nearest to these GPUs, of those that this process may use; empty where that is all of them, or not known."""
    mine = frozenset(os.sched_getaffinity(0))
    near = frozenset[int]().union(*(place.cpus for place in places(gpus))) & mine
    return frozenset() if near == mine else near


def _place(device: Path) -> Place:
    listed = (device / "local_cpulist").read_text().strip()
    ranges = [part.partition("-") for part in listed.split(",") if part]
    cpus = frozenset(cpu for first, _, last in ranges for cpu in range(int(first), int(last or first) + 1))
    return Place(node=int((device / "numa_node").read_text()), cpus=cpus)


def _kernels_name(bus: str) -> str:
    """The driver writes 00000000:3B:00.0 for what the kernel calls 0000:3b:00.0 (a domain has 16 bits)."""
    domain, _, rest = bus.lower().partition(":")
    return f"{domain[-4:]}:{rest}"


def driver() -> tuple[str, str]:
    """Its version, and the newest CUDA that it serves. Raises HarnessError where it does not answer."""
    banner = _run()
    found = [re.search(rf"{what} Version: *([\d.]+)", banner) for what in ("Driver", r"CUDA(?: UMD)?")]
    return found[0][1] if found[0] else "?", found[1][1] if found[1] else "?"


def models(gpus: Sequence[str]) -> tuple[str, ...]:
    """What each of these GPUs is, as in NVIDIA H200. Raises HarnessError where the driver does not answer."""
    return tuple(line.strip() for line in _ask("name", f"--id={','.join(gpus)}").splitlines()) if gpus else ()


def _ask(fields: str, *options: str) -> str:
    return _run(f"--query-gpu={fields}", "--format=csv,noheader,nounits", *options)


def _run(*options: str) -> str:
    command = ["nvidia-smi", *options]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=_PATIENCE_S).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise HarnessError(f"nvidia-smi does not answer: {error}") from error

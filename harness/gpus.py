"""What NVIDIA's driver says of this host's GPUs, by its own tool; silent where there is none."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import HarnessError

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


def _ask(fields: str, *options: str) -> str:
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits", *options]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=_PATIENCE_S).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise HarnessError(f"nvidia-smi does not answer: {error}") from error

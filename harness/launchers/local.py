"""Runs engines on this host: one detached supervisor each, in CPU or GPU slots."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from harness import processes, records
from harness.errors import ConfigError, LaunchError
from harness.paths import EnginePaths
from harness.types import Lease, Slot


def cpu_slots(count: int) -> tuple[Slot, ...]:
    """Raises ConfigError below one."""
    if count < 1:
        raise ConfigError(f"resources.slots: expected 1 or more, got {count}")
    return tuple(Slot(index=index) for index in range(count))


def gpu_slots(gpus: Sequence[str], gpus_per_slot: int, at_most: int | None = None) -> tuple[Slot, ...]:
    """Disjoint sets of `gpus_per_slot` GPUs, as many as fit; raises ConfigError where not even one does."""
    count = len(gpus) // gpus_per_slot
    if count == 0:
        raise ConfigError(
            f"resources.gpus_per_slot: {gpus_per_slot} asked for a trial, {len(gpus)} there: {', '.join(gpus) or 'no GPU is visible'}"
        )
    sets = [tuple(gpus[i * gpus_per_slot : (i + 1) * gpus_per_slot]) for i in range(count)]
    return tuple(Slot(index=index, gpus=gpus) for index, gpus in enumerate(sets[:at_most]))


def visible_gpus() -> tuple[str, ...]:
    """The values of CUDA_VISIBLE_DEVICES where it is set, else every index that the NVIDIA driver lists; empty without a driver."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return tuple(name.strip() for name in chosen.split(",") if name.strip() and name.strip() != "-1")
    try:
        listed = subprocess.run(["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, check=True)  # noqa: S607
    except (OSError, subprocess.CalledProcessError):
        return ()
    return tuple(listed.stdout.split())


class LocalEngines:
    """An `EngineLauncher` for this host."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._slots = tuple(slots)
        self._supervisors: dict[int, subprocess.Popen[bytes]] = {}

    def slots(self) -> Sequence[Slot]:
        return self._slots

    def start(self, engine: EnginePaths) -> None:
        argv = [sys.executable, "-m", "harness.supervisor", str(engine.root)]
        try:
            with engine.log.open("ab") as log:
                self._supervisors[engine.number] = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        except OSError as error:
            raise LaunchError(f"{engine.root.name}: the supervisor cannot be started: {error}") from error

    def is_alive(self, engine: EnginePaths) -> bool:
        supervisor = self._supervisors.get(engine.number)
        if supervisor is not None:
            return supervisor.poll() is None
        return processes.is_alive(records.read_if_there(engine.lease, Lease))

    def end(self, engine: EnginePaths) -> None:
        lease = records.read_if_there(engine.lease, Lease)
        if lease is not None and processes.is_alive(lease):
            with contextlib.suppress(ProcessLookupError):
                os.kill(lease.pid, signal.SIGTERM)

"""Runs engines on this host: one detached supervisor each, in CPU or GPU slots."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness import gpus, processes, records
from harness.errors import ConfigError, GpuQuarantined, HarnessError, LaunchError
from harness.launchers.gpu_guard import PATIENCE_S, GpuGuard
from harness.paths import EnginePaths
from harness.types import EngineSpec, Lease, Slot

_TRIES = 3
_SPARE = 0.1  # of an engine's memory, for what the next one needs more


def cpu_slots(count: int) -> tuple[Slot, ...]:
    """Raises ConfigError below one."""
    if count < 1:
        raise ConfigError(f"resources.slots: expected 1 or more, got {count}")
    return tuple(Slot(index=index) for index in range(count))


def gpu_slots(gpus: Sequence[str], gpus_per_slot: int, at_most: int | None = None, *, slots_per_gpu: int = 1) -> tuple[Slot, ...]:
    """Disjoint sets of `gpus_per_slot` GPUs, as many as fit, of one NUMA node where they can be; or `slots_per_gpu` parts of each GPU.

    Each GPU's first part comes before any second one, so that few slots do not share. Raises ConfigError where not even one slot fits.
    """
    if slots_per_gpu < 1:
        raise ConfigError(f"resources.slots_per_gpu: expected 1 or more, got {slots_per_gpu}")
    if slots_per_gpu > 1 and gpus_per_slot != 1:
        raise ConfigError(f"resources.slots_per_gpu: {slots_per_gpu} slots share a GPU only where each takes one, not {gpus_per_slot}")
    count = len(gpus) // gpus_per_slot
    if count == 0:
        raise ConfigError(
            f"resources.gpus_per_slot: {gpus_per_slot} asked for a trial, {len(gpus)} there: {', '.join(gpus) or 'no GPU is visible'}"
        )
    near = by_node(gpus)
    sets = [tuple(near[i * gpus_per_slot : (i + 1) * gpus_per_slot]) for i in range(count)]
    shares = [(part, own) for part in range(slots_per_gpu) for own in sets][:at_most]
    return tuple(Slot(index=index, gpus=own, part=part, parts=slots_per_gpu) for index, (part, own) in enumerate(shares))


def by_node(names: Sequence[str]) -> list[str]:
    """The GPUs of one NUMA node next to each other, else in the order given."""
    nodes = [place.node for place in gpus.places(names)]
    order = sorted(range(len(names)), key=lambda index: nodes[index]) if len(nodes) == len(names) else range(len(names))
    return [names[index] for index in order]


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """Memory in MiB: of an engine's processes on the host, and of its GPUs by whomever."""

    host: int
    gpus: tuple[int, ...]


class LocalEngines:
    """An `EngineLauncher` for this host."""

    def __init__(self, slots: Sequence[Slot], gpu_back_s: float = PATIENCE_S) -> None:
        self._slots = tuple(slots)
        self._supervisors: dict[int, subprocess.Popen[bytes]] = {}
        self._again: dict[int, int] = {}  # by the number of the engine
        self._peaks: dict[int, Use] = {}  # by the number of the engine
        self._guard = GpuGuard(patience_s=gpu_back_s)

    def slots(self) -> Sequence[Slot]:
        return self._slots

    def start(self, engine: EnginePaths) -> None:
        self._guard.engine_starts(records.read(engine.command, EngineSpec).slot)
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
        if supervisor is not None and supervisor.poll() is None:
            return True
        if engine.ended.exists():
            return False
        lease = records.read_if_there(engine.lease, Lease)
        if processes.is_alive(lease):
            return True
        never_started = supervisor is None and lease is None
        return not never_started and self._supervise_again(engine, lease)

    def _supervise_again(self, engine: EnginePaths, lease: Lease | None) -> bool:
        """After the death of a supervisor: a new one cleans up, or starts the engine where the old one had not. A few times at most."""
        tries = self._again.get(engine.number, 0)
        if tries >= _TRIES or (lease is not None and lease.host != processes.my_lease().host):
            return False
        self._again[engine.number] = tries + 1
        self.start(engine)
        return True

    def has_room_beside(self, engine: EnginePaths) -> bool:
        spec = records.read(engine.command, EngineSpec)
        try:
            devices = gpus.memory(spec.slot.gpus)
        except HarnessError:
            return False
        now = Use(host=processes.memory_mib(spec.engine), gpus=tuple(device.used for device in devices))
        before = self._peaks.get(engine.number, now)
        peak = Use(host=max(now.host, before.host), gpus=tuple(map(max, now.gpus, before.gpus)))
        self._peaks[engine.number] = peak
        host = (1 + _SPARE) * peak.host < processes.available_mib()
        return host and all((2 + _SPARE) * used < device.total for used, device in zip(peak.gpus, devices, strict=True))

    def is_clear(self, slot: Slot, share: float, say: Callable[[str], None]) -> bool:
        clear = self._guard.is_clear(slot, share, say)
        if not clear and len(self._guard.quarantined()) == len(self._slots):
            names = ", ".join(self._guard.quarantined())
            raise GpuQuarantined(f"no slot is left: {names} did not come back; see nvidia-smi for what holds them")
        return clear

    def end(self, engine: EnginePaths) -> None:
        lease = records.read_if_there(engine.lease, Lease)
        if lease is not None and processes.is_alive(lease):
            with contextlib.suppress(ProcessLookupError):
                os.kill(lease.pid, signal.SIGTERM)

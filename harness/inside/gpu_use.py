"""What each part of a step takes of the GPUs: peak memory by role, and energy; logged with the step's metrics. Measures nothing on a CPU.

A role's peak is that of the trainer's process on a GPU, the worst rank's, between the end of the part before and its own. The rollout's
server is another process: its memory is what the device has in use when generation ends, less what the trainer's process holds, and is
left out where engines share the GPU. So is energy, which NVML counts for a whole GPU
(nvmlDeviceGetTotalEnergyConsumption: millijoules since the driver was loaded; Volta and later).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any

from harness.types import Slot

GIB = 2**30


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Of one rank's accelerator, in bytes."""

    peak_bytes: int  # the most that this process had allocated since it was asked last
    held_bytes: int  # that this process has reserved now
    device_bytes: int  # in use now, by whomever


@dataclass(slots=True)
class GpuUse:
    """Collects one step's."""

    workers: Any  # verl's group of `harness.inside.workers.ActorWorker`
    slot: Slot
    _peaks: dict[str, float] = field(default_factory=dict)  # GiB by role
    _energy_mj: int | None = None  # millijoules of all GPUs at the last look

    def begin(self) -> None:
        self.workers.memory()  # what came before the step is nobody's
        self._energy_mj = self._energy()

    def part(self, role: str) -> None:
        """A part of the step has just ended that was this role's."""
        memory = self.workers.memory()
        own = max(rank.peak_bytes for rank in memory)
        if role == "rollout":
            if self.slot.parts > 1:
                return
            own = max(rank.device_bytes - rank.held_bytes for rank in memory)
        self._peaks[role] = max(self._peaks.get(role, 0.0), own / GIB)

    def metrics(self) -> dict[str, float]:
        """Of the step that ends."""
        told = {f"perf/gpu/peak_gib/{role}": peak for role, peak in self._peaks.items()}
        before, self._energy_mj = self._energy_mj, self._energy()
        if before is not None and self._energy_mj is not None:
            told["perf/gpu/energy_kj"] = (self._energy_mj - before) / 1e6
        self._peaks = {}
        return told

    def _energy(self) -> int | None:
        return energy_mj(self.slot.gpus) if self.slot.parts == 1 else None


def energy_mj(gpus: tuple[str, ...]) -> int | None:
    """Millijoules that these GPUs (indices or UUIDs) have used so far in all; None where NVML does not tell."""
    try:
        import pynvml  # comes with vLLM
    except ModuleNotFoundError:
        return None
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(int(gpu)) if gpu.isdigit() else pynvml.nvmlDeviceGetHandleByUUID(gpu) for gpu in gpus]
        return sum(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) for handle in handles)
    except pynvml.NVMLError:
        return None
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()

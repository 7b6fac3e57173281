"""What a step took of its GPUs, by role; no GPU is needed: the workers' answers and NVML are doubles."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from harness.inside.gpu_use import GIB, GpuUse, Memory, energy_mj
from harness.types import Slot

ALONE, SHARED = Slot(index=0, gpus=("0", "1")), Slot(index=0, gpus=("0",), part=1, parts=2)


class Workers:
    """Two ranks, whose answers in GiB are given beforehand: (peak, held, in use on the device) of each."""

    def __init__(self, *answers: tuple[tuple[int, int, int], tuple[int, int, int]]) -> None:
        self._answers = iter(answers)

    def memory(self) -> list[Memory]:
        return [
            Memory(peak_bytes=peak * GIB, held_bytes=held * GIB, device_bytes=device * GIB) for peak, held, device in next(self._answers)
        ]


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Millijoules by GPU: indices and UUIDs."""
    energy = {"0": 1_000_000, "1": 5_000_000, "GPU-5a": 7_000_000}
    double = ModuleType("pynvml")
    double.__dict__.update(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetHandleByIndex=str,
        nvmlDeviceGetHandleByUUID=str,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: energy[handle],
    )
    monkeypatch.setitem(sys.modules, "pynvml", double)
    return energy


def test_the_worst_rank_counts_and_a_rollout_is_what_the_trainer_does_not_hold(nvml: dict[str, int]) -> None:
    use = GpuUse(Workers(((9, 9, 9), (9, 9, 9)), ((1, 2, 40), (1, 3, 42)), ((10, 0, 0), (12, 0, 0)), ((11, 0, 0), (5, 0, 0))), ALONE)
    use.begin()
    for role in ("rollout", "actor", "actor"):
        use.part(role)
    nvml["0"] += 1_500_000
    nvml["1"] += 500_000
    assert use.metrics() == {"perf/gpu/peak_gib/rollout": 39.0, "perf/gpu/peak_gib/actor": 12.0, "perf/gpu/energy_kj": 2.0}
    assert use.metrics() == {"perf/gpu/energy_kj": 0.0}, "of the next step"


def test_on_a_shared_gpu_what_cannot_be_told_apart_is_left_out(nvml: dict[str, int]) -> None:
    use = GpuUse(Workers(((1, 1, 1), (1, 1, 1)), ((1, 2, 40), (1, 3, 42)), ((10, 0, 0), (12, 0, 0))), SHARED)
    use.begin()
    use.part("rollout")
    use.part("reference")
    assert use.metrics() == {"perf/gpu/peak_gib/reference": 12.0}


def test_energy_is_that_of_all_gpus_by_index_or_name_and_unknown_without_nvml(
    nvml: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert energy_mj(("1", "GPU-5a")) == 12_000_000

    def absent(_: object) -> int:
        raise RuntimeError("Not Supported")

    monkeypatch.setattr(sys.modules["pynvml"], "nvmlDeviceGetTotalEnergyConsumption", absent)
    assert energy_mj(("0",)) is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert energy_mj(("0",)) is None

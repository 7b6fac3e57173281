"""Which GPUs a slot has: disjoint sets, parts of one, next to each other on the host; and that a study never gives one to two at once."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from gpu_driver import Driver
from hydra import compose, initialize_config_module

from harness import gpus, records
from harness.engine import Assignment
from harness.errors import ConfigError
from harness.launchers.local import gpu_slots
from harness.paths import EnginePaths, StudyPaths
from harness.types import EngineSpec, Slot
from sweeps.config import Settings, read_settings
from sweeps.engines import EnginePool, LiveEngine

GPUS = tuple(str(index) for index in range(8))


def test_slots_are_disjoint_sets_and_too_few_gpus_are_refused() -> None:
    assert [slot.gpus for slot in gpu_slots(("0", "1", "2", "3", "4"), 2)] == [("0", "1"), ("2", "3")]
    with pytest.raises(ConfigError, match="4 asked for a trial, 2 there: 0, 1"):
        gpu_slots(("0", "1"), 4)


def test_few_slots_have_a_gpu_each_before_any_share_one() -> None:
    names = [slot.name for slot in gpu_slots(("0", "1"), 1, slots_per_gpu=3)]
    assert names == [f"gpu:{gpu}#{part}/3" for part in (1, 2, 3) for gpu in (0, 1)]
    assert [slot.name for slot in gpu_slots(("0", "1"), 1, 2, slots_per_gpu=3)] == names[:2]


@pytest.mark.parametrize("slot", [Slot(index=0, gpus=("0", "GPU-5a")), Slot(index=0, gpus=("3",), part=1, parts=4), Slot(index=7)])
def test_a_slots_name_says_what_it_has(slot: Slot) -> None:
    assert Slot.named(slot.name) == slot


# --- the host's memory and processors (NUMA) ------------------------------------------------------------------------------------------


def host(folder: Path, nodes: Sequence[int]) -> Path:
    """What the kernel of a host of two nodes says of the GPUs' places; half of this process's processors belong to each node."""
    mine = sorted(os.sched_getaffinity(0))
    half = [mine[: len(mine) // 2 or 1], mine[len(mine) // 2 :]]
    for gpu, node in enumerate(nodes):
        device = folder / f"0000:{gpu:02x}:00.0"
        device.mkdir(parents=True)
        (device / "numa_node").write_text(f"{node}\n")
        (device / "local_cpulist").write_text(",".join(map(str, half[max(node, 0)] if node >= 0 else mine)) + "\n")
    return folder


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    folder = tmp_path / "driver"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return Driver(folder, gpus=4)


def test_the_gpus_of_a_slot_are_of_one_node_where_they_can_be(driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "DEVICES", host(tmp_path / "host", (0, 1, 0, 1)))
    assert [slot.gpus for slot in gpu_slots(("0", "1", "2", "3"), 2)] == [("0", "2"), ("1", "3")]


def test_an_engine_is_kept_to_the_processors_next_to_its_gpus(driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "DEVICES", host(tmp_path / "host", (0, 1, 0, 1)))
    mine = sorted(os.sched_getaffinity(0))
    if len(mine) < 2:
        pytest.skip("one processor has no halves")
    assert gpus.near_cpus(("0", "2")) == set(mine[: len(mine) // 2])
    assert gpus.near_cpus(("1",)) == set(mine[len(mine) // 2 :])
    assert gpus.near_cpus(("0", "1")) == frozenset(), "all of them: nothing to keep it to"


def test_on_a_host_of_one_node_or_without_a_driver_nothing_is_kept_apart(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "DEVICES", host(tmp_path / "host", (-1, -1, -1, -1)))
    assert gpus.near_cpus(("0",)) == frozenset()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus.near_cpus(("0",)) == frozenset()
    assert [slot.gpus for slot in gpu_slots(("2", "0"), 1)] == [("2",), ("0",)]


# --- a thousand starts and ends -------------------------------------------------------------------------------------------------------


class Pretended:
    """An `EngineLauncher` without processes: an engine lives from its start until it is told to die."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._slots = tuple(slots)
        self.alive: dict[int, EngineSpec] = {}

    def slots(self) -> Sequence[Slot]:
        return self._slots

    def start(self, engine: EnginePaths) -> None:
        self.alive[engine.number] = records.read(engine.command, EngineSpec)

    def is_alive(self, engine: EnginePaths) -> bool:
        if engine.leave.exists():
            self.alive.pop(engine.number, None)
        return engine.number in self.alive

    def has_room_beside(self, engine: EnginePaths) -> bool:
        return False

    def is_clear(self, slot: Slot, share: float, say: Callable[[str], None]) -> bool:
        return True

    def end(self, engine: EnginePaths) -> None:
        self.alive.pop(engine.number, None)


SHARED_BY_MANY = {"actor_rollout_ref": {"rollout": {"agent": {"agent_loop_manager_class": "harness.inside.seeding.SeededAgentLoops"}}}}


@pytest.fixture
def settings(fresh_hydra: None) -> Iterator[Settings]:
    with initialize_config_module("conf", version_base="1.3"):
        yield read_settings(compose("config", return_hydra_config=True))


@pytest.mark.parametrize(("per_slot", "per_gpu"), [(1, 1), (2, 1), (3, 1), (1, 3)])
def test_no_gpu_is_given_to_more_than_it_may_have_in_a_thousand_starts_and_ends(
    settings: Settings, tmp_path: Path, per_slot: int, per_gpu: int
) -> None:
    launcher = Pretended(gpu_slots(GPUS, per_slot, slots_per_gpu=per_gpu))
    pool = EnginePool(StudyPaths(tmp_path / "study"), settings, launcher, say=lambda _: None)
    draw, busy, ended = random.Random(7), list[LiveEngine](), 0
    trials = iter(range(10_000))
    for _ in range(1000):
        if busy and (not pool.free() or draw.random() < 0.5):
            engine = busy.pop(draw.randrange(len(busy)))
            engine.busy = False
            if draw.random() < 0.5:  # as one in which an attempt failed
                launcher.end(engine.paths)
                engine.spent = True
            ended += 1
        else:
            structure = draw.choice("ab")
            slot = pool.choose(structure)
            assert slot is not None
            given_to = pool.engine_for(slot, structure, SHARED_BY_MANY)
            assert given_to is not None
            assert pool.hand_over(given_to, StudyPaths(tmp_path / "study").trial(next(trials)).attempt(0))
            busy.append(given_to)
        given = Counter(gpu for spec in launcher.alive.values() for gpu in spec.environment["CUDA_VISIBLE_DEVICES"].split(","))
        assert max(given.values(), default=0) <= per_gpu
        assert all(len(spec.environment["CUDA_VISIBLE_DEVICES"].split(",")) == per_slot for spec in launcher.alive.values())
        assert len({engine.slot.name for engine in busy}) == len(busy)
    assert ended > 300
    assert len(list((tmp_path / "study").glob("engine-*"))) > 100
    assert records.read(next((tmp_path / "study").glob("engine-*/inbox/000000.json")), Assignment).attempt

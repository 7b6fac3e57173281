"""Verdicts on the host itself: processors, memory, disks, ports, limits."""

from __future__ import annotations

from collections.abc import Iterator

from harness.doctor.nouns import Facts, Line, Needs, Verdict

ENGINE_MIB = 6 * 1024  # that an engine's processes take on the host beside its object store: docs/warm-engines.md measured 5.8 GB
PORTS_OF_AN_ENGINE = 32  # Ray's own processes and workers, verl's process groups, the rollout's servers: tens
_LEAST_DISK_MIB = 1024
_FULL = 0.95  # Ray's local_fs_capacity_threshold: beyond it no object is spilled any more
_OPEN_FILES = 8192  # Ray warns below
_SHM = "/dev/shm"  # noqa: S108 (a name to show)


def python(_: Needs, facts: Facts) -> Iterator[Line]:
    yield Line(name="Python", verdict=Verdict.OK, what=facts.python)


def processors(needs: Needs, facts: Facts) -> Iterator[Line]:
    what = f"{facts.cpus} processors for {needs.slots} slot{'s' * (needs.slots != 1)}"
    if needs.trains and facts.cpus < 2 * needs.slots:
        cure = "fewer resources.slots: engines on one processor slow each other"
        yield Line(name="CPU", verdict=Verdict.NOTE, what=what, cure=cure)
    else:
        yield Line(name="CPU", verdict=Verdict.OK, what=what)


def memory(needs: Needs, facts: Facts) -> Iterator[Line]:
    what = f"{_gib(facts.memory_free_mib)} of {_gib(facts.memory_total_mib)} GiB free"
    stores = needs.slots * needs.object_store_mib
    if not needs.trains:
        yield Line(name="memory", verdict=Verdict.OK, what=what)
    elif facts.memory_free_mib < stores:
        cure = "fewer resources.slots or a smaller resources.object_store_mib"
        yield Line(
            name="memory", verdict=Verdict.LACKS, what=f"{what}, and the engines' object stores alone take {_gib(stores)}", cure=cure
        )
    elif facts.memory_free_mib < stores + needs.slots * ENGINE_MIB:
        least = _gib(stores + needs.slots * ENGINE_MIB)
        what = f"{what}; {needs.slots} engine{'s' * (needs.slots != 1)} of a small model took {least}, and a large one takes more"
        yield Line(name="memory", verdict=Verdict.NOTE, what=what, cure="fewer resources.slots")
    else:
        yield Line(name="memory", verdict=Verdict.OK, what=what)


def shared_memory(needs: Needs, facts: Facts) -> Iterator[Line]:
    """Ray falls back to files in its temporary folder where its store does not fit; weights and batches then go over the disk."""
    if not needs.trains:
        return
    stores = needs.slots * needs.object_store_mib
    what = f"{_gib(facts.shared_memory_free_mib)} GiB free, the engines' object stores take {_gib(stores)}"
    if facts.shared_memory_free_mib < stores:
        cure = "a larger /dev/shm (docker run --shm-size), or a smaller resources.object_store_mib; else Ray puts them on the disk, slowly"
        yield Line(name=_SHM, verdict=Verdict.NOTE, what=what, cure=cure)
    else:
        yield Line(name=_SHM, verdict=Verdict.OK, what=what)


def disks(needs: Needs, facts: Facts) -> Iterator[Line]:
    for name, folder in needs.folders.items():
        disk = facts.disks[name]
        what = f"{folder}: {_gib(disk.free_mib)} of {_gib(disk.total_mib)} GiB free"
        if not disk.writable:
            yield Line(name=name, verdict=Verdict.LACKS, what=f"{folder} is not writable", cure=_elsewhere(name))
        elif disk.free_mib < _LEAST_DISK_MIB:
            yield Line(name=name, verdict=Verdict.LACKS, what=what, cure=f"free some; {_elsewhere(name)}")
        elif disk.free_mib < (1 - _FULL) * disk.total_mib:
            yield Line(name=name, verdict=Verdict.NOTE, what=f"{what}; on a disk that is {_FULL:.0%} full Ray spills no objects")
        else:
            yield Line(name=name, verdict=Verdict.OK, what=what)


def ports(needs: Needs, facts: Facts) -> Iterator[Line]:
    if not needs.trains:
        return
    wanted = needs.slots * PORTS_OF_AN_ENGINE
    if facts.ports < wanted:
        what = f"{facts.ports} could be opened on 127.0.0.1, {needs.slots} engine{'s' * (needs.slots != 1)} may take {wanted}"
        cure = "close what holds them, or widen net.ipv4.ip_local_port_range"
        yield Line(name="ports", verdict=Verdict.LACKS, what=what, cure=cure)
    else:
        yield Line(name="ports", verdict=Verdict.OK, what=f"{wanted} can be opened on 127.0.0.1")


def open_files(needs: Needs, facts: Facts) -> Iterator[Line]:
    if needs.trains and facts.open_files < _OPEN_FILES:
        cure = f"ulimit -n {max(min(facts.open_files_most, 65536), _OPEN_FILES)}"
        what = f"{facts.open_files} a process; Ray asks for {_OPEN_FILES}"
        yield Line(name="open files", verdict=Verdict.NOTE, what=what, cure=cure)
    else:
        yield Line(name="open files", verdict=Verdict.OK, what=f"{facts.open_files} a process")


def control_group(needs: Needs, facts: Facts) -> Iterator[Line]:
    if facts.control_group:
        yield Line(name="cgroup", verdict=Verdict.OK, what="each engine gets a control group of its own")
    elif needs.trains:
        what = "this user can make no control group; an engine's processes are then found by descent and by their environment"
        yield Line(name="cgroup", verdict=Verdict.NOTE, what=what, cure="systemd-run --user --scope -p Delegate=yes gives one")


def _elsewhere(name: str) -> str:
    return "free space there" if name == "temporary" else f"paths.{name}=... for another folder"


def _gib(mib: float) -> str:
    return f"{mib / 1024:.1f}"

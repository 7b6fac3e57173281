"""What an experiment needs of a host, what was found there, and a line of the verdict; standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from harness.types import Slot


class Verdict(StrEnum):
    OK = "ok"
    NOTE = "note"  # it runs, and does less or other than it could
    LACKS = "LACKS"  # it cannot run


class Whence(StrEnum):
    """Where a model or a data file comes from."""

    DISK = "on disk"
    NOWHERE = "not there"
    CACHE = "in the hub's cache"
    HUB = "from the hub"
    OFFLINE = "not in the hub's cache"  # and the environment says offline
    UNREACHABLE = "the hub does not answer"


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One verdict; `cure` is empty where there is nothing to do."""

    name: str
    verdict: Verdict
    what: str
    cure: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What one experiment asks for."""

    trains: bool  # the stand-in trainer loads nothing
    slots: int
    gpus_per_slot: int
    strategy: str  # fsdp, fsdp2, megatron
    rollout: str
    rollout_share: float  # of each GPU's memory, free at the start
    attention: str  # transformers' attn_implementation
    object_store_mib: int  # of each engine
    made: Mapping[str, str]  # what is made at the launch, `policy smollm2` -> its maker
    sources: tuple[str, ...]  # models and data that are there or downloaded: paths, hub ids, URLs
    wandb: str | None  # its mode; None where it is not asked for
    folders: Mapping[str, Path]  # what lies there -> folder
    refused: str = ""  # what is against the configuration itself, whatever the host

    @property
    def extra(self) -> str:
        """This project's extra that brings the packages."""
        return "gpu" if self.gpus_per_slot else "cpu"


@dataclass(frozen=True, kw_only=True, slots=True)
class Requirement:
    """One package of this project's own metadata."""

    name: str
    clauses: tuple[tuple[str, str], ...]  # (operator, version)
    extra: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """Memory in MiB."""

    name: str  # index or UUID
    model: str
    free: int
    total: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Driver:
    """`cuda` is the newest version that it serves."""

    version: str
    cuda: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchCuda:
    """What torch says of CUDA in a process of its own."""

    built_for: str | None  # None: a build without CUDA
    available: bool
    problem: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Disk:
    """Of the folder, or of the nearest one above it that exists."""

    writable: bool
    free_mib: int
    total_mib: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What was found. Sizes in MiB."""

    python: str
    packages: Mapping[str, str]  # installed distributions by canonical name -> version
    requirements: tuple[Requirement, ...]
    vllm_torch: str | None  # the version of torch that the installed vLLM was compiled for
    slots: tuple[Slot, ...]
    slots_problem: str
    driver: Driver | None
    driver_problem: str
    gpus: tuple[Gpu, ...]  # of the slots
    torch_cuda: TorchCuda | None  # None: not asked
    cpus: int
    memory_free_mib: int
    memory_total_mib: int
    shared_memory_free_mib: int
    disks: Mapping[str, Disk]  # by the keys of Needs.folders
    ports: int  # on the loopback interface that could be had at once, of those that were tried
    open_files: int  # the soft limit
    open_files_most: int  # the hard one
    control_group: bool
    sources: Mapping[str, Whence]
    wandb_key: bool

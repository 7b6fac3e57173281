"""Looks at this host: gathers what the rules judge, decides nothing, changes nothing but for a control group that goes at once."""

from __future__ import annotations

import importlib.metadata
import json
import netrc
import os
import platform
import re
import resource
import shutil
import socket
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from harness import cgroups, gpus, processes
from harness.doctor.host import PORTS_OF_AN_ENGINE
from harness.doctor.nouns import Disk, Driver, Facts, Gpu, Needs, Requirement, TorchCuda, Whence
from harness.errors import HarnessError
from harness.launchers.program import run_program
from harness.trackers import wandb_site
from harness.types import Slot

_OWN = "verl-sweep"
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (Ray's place for its object store)
_ASK_S, _HUB_S = 60.0, 2.0
_LOCAL, _TABLES = ("/", "./", "../", "~"), (".parquet", ".json", ".jsonl")


def look(needs: Needs, *, slots: Sequence[Slot], slots_problem: str) -> Facts:
    """Seconds where torch is asked about a GPU, else a fraction of one. `slots` and their problem are the launcher's answer."""
    driver, driver_problem = _driver() if needs.gpus_per_slot else (None, "")
    installed, limit = packages(), cgroups.memory_limit_mib()
    return Facts(
        python=platform.python_version(),
        packages=installed,
        requirements=requirements(),
        vllm_torch=_pinned("vllm", "torch") if "vllm" in installed else None,
        slots=tuple(slots),
        slots_problem=slots_problem,
        driver=driver,
        driver_problem=driver_problem,
        gpus=_gpus(slots) if driver else (),
        torch_cuda=_torch_cuda() if driver and needs.trains and "torch" in installed else None,
        cpus=len(os.sched_getaffinity(0)),
        memory_free_mib=min(processes.available_mib(), limit or processes.total_mib()),
        memory_total_mib=min(processes.total_mib(), limit or processes.total_mib()),
        shared_memory_free_mib=shutil.disk_usage(_SHARED_MEMORY).free // 2**20 if _SHARED_MEMORY.exists() else 0,
        disks={name: _disk(folder) for name, folder in needs.folders.items()},
        ports=_ports(needs.slots * PORTS_OF_AN_ENGINE) if needs.trains else 0,
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        open_files_most=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        control_group=_control_group(),
        sources={source: _whence(source) for source in needs.sources} if needs.trains else {},
        wandb_key=_wandb_key(os.environ) if needs.wandb == "online" else False,
    )


def packages() -> dict[str, str]:
    """Every installed distribution by its canonical name; of two of a name the one that is imported."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        if name := distribution.name:
            found.setdefault(_canonical(name), distribution.version)
    return found


def requirements() -> tuple[Requirement, ...]:
    """This project's own: of its metadata, or of its pyproject.toml where it runs from a checkout that is not installed."""
    try:
        lines = importlib.metadata.requires(_OWN) or []
    except importlib.metadata.PackageNotFoundError:
        lines = list(_of_checkout())
    return tuple(found for line in lines if (found := read_requirement(line)) is not None)


def read_requirement(line: str) -> Requirement | None:
    """`verl==0.9.1; extra == "gpu"`; None where it names no version."""
    wanted, _, marker = line.partition(";")
    name = re.match(r"\s*([\w.-]+)", wanted)
    clauses = re.findall(r"(==|>=|<)\s*([\d.]+)", wanted)
    extra = re.search(r"extra\s*==\s*[\"']([\w-]+)[\"']", marker)
    if name is None or not clauses:
        return None
    return Requirement(name=_canonical(name[1]), clauses=tuple(clauses), extra=extra[1] if extra else None)


def _of_checkout() -> Iterable[str]:
    file = Path(__file__).parents[2] / "pyproject.toml"
    if not file.is_file():
        return
    project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    yield from project["dependencies"]
    for extra, lines in project["optional-dependencies"].items():
        yield from (f'{line}; extra == "{extra}"' for line in lines)


def _pinned(package: str, dependency: str) -> str | None:
    wanted = (read_requirement(line) for line in importlib.metadata.requires(package) or ())
    return next((r.clauses[0][1] for r in wanted if r and r.name == dependency and r.extra is None and r.clauses[0][0] == "=="), None)


def _canonical(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _driver() -> tuple[Driver | None, str]:
    try:
        version, cuda = gpus.driver()
    except HarnessError as error:
        return None, str(error)
    return Driver(version=version, cuda=cuda), ""


def _gpus(slots: Sequence[Slot]) -> tuple[Gpu, ...]:
    names = tuple(dict.fromkeys(name for slot in slots for name in slot.gpus))
    try:
        models, memory = gpus.models(names), gpus.memory(names)
    except HarnessError:
        return ()  # the driver's own line tells
    return tuple(
        Gpu(name=name, model=model, free=device.total - device.used, total=device.total)
        for name, model, device in zip(names, models, memory, strict=True)
    )


def _torch_cuda() -> TorchCuda:
    try:
        return TorchCuda(**json.loads(run_program("harness.inside.cuda", timeout_s=_ASK_S).splitlines()[-1]))
    except HarnessError as error:
        return TorchCuda(built_for="?", available=False, problem=str(error))


def _disk(folder: Path) -> Disk:
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    usage = shutil.disk_usage(there)
    return Disk(writable=os.access(there, os.W_OK), free_mib=usage.free // 2**20, total_mib=usage.total // 2**20)


def _ports(wanted: int) -> int:
    """How many of so many can be held at once."""
    with ExitStack() as held:
        for count in range(wanted):
            listener = held.enter_context(socket.socket())
            try:
                listener.bind(("127.0.0.1", 0))
            except OSError:
                return count
        return wanted


def _control_group() -> bool:
    group = cgroups.make(f"doctor-{os.getpid()}")
    return group is not None and cgroups.remove(group)


def _whence(source: str) -> Whence:
    path = Path(source).expanduser()
    if path.exists():
        return Whence.DISK
    if source.startswith(_LOCAL) or path.suffix in _TABLES:
        return Whence.NOWHERE
    if _in_cache(source, os.environ):
        return Whence.CACHE
    if _says_yes(os.environ, "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        return Whence.OFFLINE
    return Whence.HUB if _answers(os.environ.get("HF_ENDPOINT", "https://huggingface.co")) else Whence.UNREACHABLE


def _in_cache(repository: str, environment: Mapping[str, str]) -> bool:
    """huggingface_hub's layout: models--organisation--name/snapshots/<revision>."""
    home = environment.get("HF_HOME") or f"{environment.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    hub = Path(environment.get("HF_HUB_CACHE") or f"{home}/hub").expanduser()
    return any((hub / f"models--{repository.replace('/', '--')}" / "snapshots").glob("*/config.json"))


def _says_yes(environment: Mapping[str, str], *names: str) -> bool:
    return any(environment.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in names)


def _answers(endpoint: str) -> bool:
    """Whether a connection is made; nothing is asked for. A proxy is taken to lead there."""
    if os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy"):
        return True
    where = urlsplit(endpoint)
    try:
        with socket.create_connection((where.hostname or "", where.port or 443), timeout=_HUB_S):
            return True
    except OSError:
        return False


def _wandb_key(environment: Mapping[str, str]) -> bool:
    """In the environment, or where `wandb login` leaves it."""
    if environment.get("WANDB_API_KEY"):
        return True
    try:
        left = netrc.netrc(environment.get("NETRC"))
        return any(left.authenticators(host) for host in wandb_site.hosts(wandb_site.server(environment, Path.home())))
    except (OSError, netrc.NetrcParseError):
        return False

"""The composed configuration as typed settings: Hydra's DictConfig ends here. Refuses values that no yaml can vouch for."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from harness.errors import ConfigError
from harness.paths import STUDY_NAME
from harness.types import Direction, GuardSettings, Limits, Objective, Reduction
from sweeps import verl_tree
from sweeps.budget import Budget, read_budget
from sweeps.guard_config import read_guards

_VERL = "verl"  # the runner
_DRILL = "drill"  # the stand-in trainer's own key, which verl's tree does not have
_SERVERS = ("vllm", "sglang", "trtllm")
_ALWAYS, _NEVER, _AUTO = "always", "never", "auto"
_MAKERS_OPTIONS = ("dataset", "options", "sizes", "source")  # of a policy or a task: the rest describes, and changes nothing that is made
E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What each process of an engine may use, and each engine's Ray; the slots are the launcher's."""

    threads: int
    object_store_mib: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Asset:
    """A policy or a task that is made on the spot where it is not there: `kind` policy or task, made by `maker` into `folder`."""

    kind: str
    maker: str
    folder: Path
    options: Mapping[str, Any]  # what the maker is told besides


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """All of a study's configuration that is not verl's."""

    study: str | None
    note: str
    report: bool  # is written when the study is over, and opened where there is a display
    default_trial: bool  # the first trial is the point that the knobs replace
    sampler_seed: int | None
    objectives: tuple[Objective, ...]
    limits: Limits
    guards: GuardSettings
    attempts: int
    keep_best: int | None  # configurations of which a trial's checkpoints stay; None: all trials'
    checkpoint_cap: int  # bytes in all; 0: none
    budget: Budget
    fail_alike: int  # 0: a study whose first trials fail alike goes on
    storage_s: float  # that a study waits for a database which does not answer; 0: for ever
    serves: int  # attempts that one engine serves at most, where it can serve several
    growth: float
    standby: bool
    preload: bool
    outputs: Path
    runner: str
    module: str
    resources: Resources
    rollout_share: float  # of a GPU's memory, which the rollout must find free at its start
    tracking: Mapping[str, Any]  # of a harness.trackers.base.Tracker, by `_target_`
    assets: tuple[Asset, ...]
    cures: Mapping[str, str]  # a key of verl's -> what to do where it is refused, beyond what the preflight can know

    @property
    def trains(self) -> bool:
        """Whether trials are verl's, and not those of a stand-in."""
        return self.runner == _VERL


def read_settings(config: DictConfig) -> Settings:
    """Raises ConfigError."""
    tree = resolved(config, but=verl_keys(config))
    limits, runner = tree["limits"], tree["runner"]
    return Settings(
        study=_study_name(tree["study"]["name"]),
        note=tree["study"]["note"],
        report=_yes_or_no("study.report", tree["study"]["report"]),
        default_trial=_yes_or_no("study.default_trial", tree["study"]["default_trial"]),
        sampler_seed=tree["study"]["seed"],
        objectives=read_objectives(tree["objective"]),
        limits=Limits(**{name: _number(f"limits.{name}", limits[name], of="seconds") for name in Limits.__dataclass_fields__}),
        guards=read_guards(tree["guards"]),
        attempts=_count("limits.attempts", limits["attempts"]),
        keep_best=_keep_best(tree["checkpoints"]),
        checkpoint_cap=int(_number("checkpoints.cap_gib", tree["checkpoints"]["cap_gib"], of="GiB") * 2**30),
        budget=read_budget(tree["budget"], objectives=len(read_objectives(tree["objective"]))),
        fail_alike=_count("limits.fail_alike", limits["fail_alike"], least=0),
        storage_s=_number("limits.storage_s", limits["storage_s"], of="seconds"),
        serves=_serves(tree["engine"]),
        growth=_number("engine.growth", tree["engine"]["growth"], of="a share"),
        standby=_yes_or_no("engine.standby", tree["engine"]["standby"]),
        preload=_preload(tree["engine"]["preload"], config),
        outputs=Path(tree["paths"]["outputs"]).expanduser(),
        runner=runner["name"],
        module=runner["module"],
        resources=_resources(tree["resources"]),
        rollout_share=_rollout_share(config),
        tracking=tree["tracking"],
        assets=_assets(tree),
        cures=_cures(tree.get("task", {})),
    )


def verl_keys(config: DictConfig) -> frozenset[str]:
    """The keys at the root of the composed configuration that are verl's, whichever of its trees was chosen."""
    return verl_tree.top_level_keys() & {str(key) for key in config}


def with_hydra(config: DictConfig) -> DictConfig:
    """A single run's configuration with Hydra's own node in it, where a sweep's has it; Hydra keeps a single run's apart."""
    whole = copy.deepcopy(config)
    with open_dict(whole):
        whole.hydra = HydraConfig.get()
    return whole


def trainer_config(config: DictConfig) -> dict[str, Any]:
    """What the trainer of one attempt is given: verl's part of the configuration, resolved, and the drill's where it is one."""
    return resolved(config, only=verl_keys(config) | {_DRILL})


def resolved(config: DictConfig, *, only: frozenset[str] | None = None, but: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Some keys of the root as plain data with interpolations resolved; raises ConfigError for one that cannot be.

    verl's tree has values that are only mandatory where they are used: they stay `???`, which means the same wherever it is read again.
    """
    skip = but | {"hydra"}
    keys = [key for key in config if str(key) not in skip and (only is None or key in only)]
    try:
        return {str(key): _plain(config, str(key)) for key in keys}
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key or 'the configuration'}: {str(error).splitlines()[0]}") from error


def unresolved(config: DictConfig) -> dict[str, Any]:
    """All of a configuration but Hydra's own node, as it was written."""
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items() if key != "hydra"}


def interpolations(config: DictConfig) -> dict[str, tuple[str, ...]]:
    """Short name of a knob -> the dotted keys of verl that are exactly `${name}`: where that knob acts."""
    found: dict[str, list[str]] = {}
    for key in verl_keys(config):
        _collect(OmegaConf.to_container(config[key], resolve=False) if OmegaConf.is_config(config[key]) else None, key, found)
    return {name: tuple(sorted(keys)) for name, keys in found.items()}


def _collect(node: object, key: str, found: dict[str, list[str]]) -> None:
    if isinstance(node, Mapping):
        for name, child in node.items():
            _collect(child, f"{key}.{name}", found)
    elif isinstance(node, str) and (match := re.fullmatch(r"\$\{(\w+)\}", node)):
        found.setdefault(match[1], []).append(key)


def _plain(config: DictConfig, key: str) -> Any:
    value = config[key]
    return OmegaConf.to_container(value, resolve=True, throw_on_missing=False) if OmegaConf.is_config(value) else value


def read_objectives(node: Mapping[str, Any]) -> tuple[Objective, ...]:
    """Raises ConfigError."""
    metrics = _listed(node["metric"])
    directions = _listed(node["direction"])
    reductions = _listed(node["reduction"])
    if len(directions) not in (1, len(metrics)) or len(reductions) not in (1, len(metrics)):
        raise ConfigError(
            f"objective: {len(metrics)} metrics, {len(directions)} directions and {len(reductions)} reductions: one each, or one for all"
        )
    return tuple(
        Objective(
            metric=_metric(metric),
            direction=_member("objective.direction", Direction, directions[index % len(directions)]),
            reduction=_member("objective.reduction", Reduction, reductions[index % len(reductions)]),
            window=_count("objective.window", node["window"]),
        )
        for index, metric in enumerate(metrics)
    )


def _metric(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"objective.metric: expected the name or pattern of a metric, as in val-core/*/acc/mean@1, got {value!r}")
    return value


def _member(key: str, kind: type[E], value: object) -> E:
    try:
        return kind(str(value))
    except ValueError as error:
        raise ConfigError(f"{key}: expected one of {', '.join(kind)}, got {value!r}") from error


def _resources(node: Mapping[str, Any]) -> Resources:
    return Resources(
        threads=_count("resources.threads", node["threads"]),
        object_store_mib=_count("resources.object_store_mib", node["object_store_mib"], least=76),  # Ray's own minimum
    )


def _assets(tree: Mapping[str, Any]) -> tuple[Asset, ...]:
    root = Path(tree["paths"]["assets"]).expanduser()
    nodes = [(kind, tree.get(kind, {})) for kind in ("policy", "task")]
    return tuple(_asset(kind, node, root) for kind, node in nodes if node.get("make"))


def _asset(kind: str, node: Mapping[str, Any], root: Path) -> Asset:
    options = {name: node[name] for name in _MAKERS_OPTIONS if name in node}
    return Asset(kind=kind, maker=node["make"], folder=root / kind / node.get("folder", node["make"]), options=options)


def _cures(task: Mapping[str, Any]) -> dict[str, str]:
    if not task.get("source"):
        return {}
    cure = f"{task['source']} in verl's repository writes both; its folder is looked for in paths.data (VERL_SWEEP_DATA, else ~/data)"
    return dict.fromkeys(("data.train_files", "data.val_files"), cure)


def _rollout_share(config: DictConfig) -> float:
    """Servers of their own take their share at once, or refuse to start; the trainer's processes take what they need when they need it."""
    rollout = OmegaConf.select(config, "actor_rollout_ref.rollout")
    if rollout is None or rollout.get("name") not in _SERVERS:
        return 0.0
    return float(rollout.get("gpu_memory_utilization") or 0.0)


def _keep_best(node: Mapping[str, Any]) -> int | None:
    return None if node["keep_best"] is None else _count("checkpoints.keep_best", node["keep_best"], least=0)


def _serves(node: Mapping[str, Any]) -> int:
    if node["reuse"] not in (_ALWAYS, _NEVER):
        raise ConfigError(f"engine.reuse: expected {_ALWAYS} or {_NEVER}, got {node['reuse']!r}")
    return _count("engine.attempts", node["attempts"]) if node["reuse"] == _ALWAYS else 1


def _preload(value: object, config: DictConfig) -> bool:
    if value not in (_AUTO, _ALWAYS, _NEVER):
        raise ConfigError(f"engine.preload: expected {_AUTO}, {_ALWAYS} or {_NEVER}, got {value!r}")
    return value == _ALWAYS or (value == _AUTO and OmegaConf.select(config, "trainer.device") == "cpu")


def _study_name(name: object) -> str | None:
    if name is None:
        return None
    if not isinstance(name, str) or not STUDY_NAME.fullmatch(name):
        raise ConfigError(f"study.name: expected up to 64 letters, digits, '.', '_' or '-', got {name!r}")
    return name


def _number(key: str, value: object, *, of: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ConfigError(f"{key}: expected {of}, 0 or more, got {value!r}")
    return float(value)


def _yes_or_no(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{key}: expected true or false, got {value!r}")
    return value


def _count(key: str, value: object, *, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{key}: expected a whole number, {least} or more, got {value!r}")
    return value


def _listed(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]

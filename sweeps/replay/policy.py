"""Reads the policies that a replay is to judge: what samples, what prunes and what plans, as Hydra composes it; refuses anything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.errors import ConfigError
from harness.expense import Resource
from sweeps.composed import CONF
from sweeps.pruners.spending import resource_of

PRESETS = Path(__file__).parent / "policies"
OPTIONS = Path(__file__).resolve().parents[2] / "hydra_plugins" / "verl_sweep_conf" / "hydra" / "sweeper"
DEFAULT = "default"
_DEFAULT_EXPERIMENT = "demo"  # what the README launches first
_EXPERIMENT = "experiment="
_SWEEPER = "hydra/sweeper=verl_optuna"  # whose other keys a node may refer to
_PARTS = ("sampler", "pruner", "plan")


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """The nodes of `hydra.sweeper` that decide what is tried and for how long."""

    name: str
    sampler: Mapping[str, object]
    pruner: Mapping[str, object]
    plan: Mapping[str, object]


def read_policies(names: str, runs: float) -> tuple[Policy, ...]:
    """Of names with commas between, for studies of so many full runs. Raises ConfigError."""
    return tuple(read_policy(name, runs) for name in names.split(","))


def read_policy(name: str, runs: float) -> Policy:
    """A preset, the path of a yaml, `experiment=NAME` (what that one launches with), `default` (what the demo does). Raises ConfigError."""
    if name == DEFAULT:
        return _of_experiment(name, _DEFAULT_EXPERIMENT, runs)
    if name.startswith(_EXPERIMENT):
        return _of_experiment(name, name.removeprefix(_EXPERIMENT), runs)
    file = Path(name) if name.endswith((".yaml", ".yml")) else PRESETS / f"{name}.yaml"
    if not file.is_file():
        there = [DEFAULT, *sorted(path.stem for path in PRESETS.glob("*.yaml"))]
        raise ConfigError(f"--policy: no {name!r}; expected {', '.join(there)}, experiment=NAME or the path of a .yaml")
    composed = _composed(file.resolve().parent, file.stem, [_SWEEPER, f"hydra.searchpath=[{OPTIONS.as_uri()}]"], runs)
    unknown = sorted({str(key) for key in composed} - {*_PARTS, "hydra"})
    if unknown:
        raise ConfigError(f"{file}: a policy has {', '.join(_PARTS)}, not {unknown[0]!r}")
    return _policy(file.stem, composed, where=str(file))


def _of_experiment(name: str, experiment: str, runs: float) -> Policy:
    config = _composed(CONF, "config", [f"experiment={experiment}"], runs)
    return _policy(name, config.hydra.sweeper, where=f"experiment={experiment}")


def _policy(name: str, node: DictConfig, *, where: str) -> Policy:
    parts: dict[str, Any] = {}
    for part in _PARTS:
        if not OmegaConf.is_dict(node.get(part)):
            raise ConfigError(f"{where}: expected {part}, an option of hydra/sweeper/{part} or a mapping with a _target_")
        parts[part] = OmegaConf.to_container(node[part], resolve=True)
    if (resource := resource_of(parts["pruner"])) is not Resource.STEPS:
        raise ConfigError(f"{where}: its pruner counts {resource}, and nobody recorded these; resource: steps")
    return Policy(name=name, **parts)


def _composed(folder: Path, name: str, overrides: list[str], runs: float) -> DictConfig:
    """As for a study of so many full runs. Raises ConfigError."""
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(folder), version_base="1.3"):
            return (
                GlobalHydra.instance()
                .config_loader()
                .load_configuration(name, [*overrides, f"hydra.sweeper.n_trials={runs:g}"], run_mode=RunMode.MULTIRUN)
            )
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError) as error:
        raise ConfigError(f"{folder / name}.yaml: {' '.join(str(error).split())}") from error

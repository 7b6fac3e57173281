"""`runs.yaml`, which may lie beside runs and says what they are; refuses what cannot be meant.

    objective: {metric: val-core/*/acc/mean@1, direction: maximize, reduction: last}
    runs:
      a.jsonl: {params: {lr: 1e-5}, seed: 0}

What it does not say of the objective is as in the default configuration. A run that it does not name is as its source tells it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec
import yaml

from harness.errors import ConfigError
from harness.runs.nouns import Told, Wishes
from harness.types import Direction, Objective, Params, Reduction

SIDECAR = "runs.yaml"
_NAMES = 12  # of runs, in a message
_DEFAULTS = Path(__file__).resolve().parents[2] / "conf" / "config.yaml"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sidecar:
    """What it says; nothing where there is none."""

    path: Path
    objective: Mapping[str, Any]
    runs: Mapping[str, Any]


def read_sidecar(folder: Path | None) -> Sidecar:
    """Raises ConfigError."""
    path = (folder or Path()) / SIDECAR
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8")) if folder is not None and path.exists() else {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not readable: {' '.join(str(error).split())}") from error
    objective, runs = (said.get("objective", {}), said.get("runs", {})) if isinstance(said, Mapping) else (None, None)
    if not isinstance(objective, Mapping) or not isinstance(runs, Mapping):
        raise ConfigError(f"{path}: expected the mappings objective and runs")
    return Sidecar(path=path, objective=objective, runs={str(name): node for name, node in runs.items()})  # an id may look like a number


def objective_of(said: Sidecar, wishes: Wishes) -> Objective:
    """The wishes before what the file says, and that before the default configuration. Raises ConfigError."""
    default = yaml.safe_load(_DEFAULTS.read_text(encoding="utf-8"))["objective"]
    unknown = sorted(map(str, said.objective.keys() - default.keys()))
    if unknown:
        raise ConfigError(f"{said.path}: objective has no {unknown[0]}; it takes {', '.join(default)}")
    wished = {name: value for name in ("metric", "direction", "reduction") if (value := getattr(wishes, name)) is not None}
    node = {**default, **said.objective, **wished}
    for name, kind in (("direction", Direction), ("reduction", Reduction)):
        if node[name] not in tuple(kind):
            raise ConfigError(f"{said.path}: objective.{name}: expected one of {', '.join(kind)}, got {node[name]!r}")
    try:
        return msgspec.convert(node, Objective)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{said.path}: objective takes one metric, by its name or pattern: {error}") from error


def as_said(said: Sidecar, told: Sequence[Told], known: Sequence[str]) -> list[Told]:
    """Each run with what the file says of it. Raises ConfigError, also where it names none of those that are known."""
    missing = [name for name in said.runs if name not in known]
    if missing:
        close = get_close_matches(missing[0], known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(f"{said.path}: runs: there is no {missing[0]}; {hint}there {'are' if len(known) > 1 else 'is'} {_listed(known)}")
    return [_as_said(said, one) for one in told]


def _as_said(said: Sidecar, told: Told) -> Told:
    name = next((key for key in told.keys if key in said.runs), None)
    if name is None:
        return told
    params, seed = _point(said, name)
    return replace(told, params=params, seed=told.seed if seed is None else seed, configuration="")


def _point(said: Sidecar, name: str) -> tuple[Params, int | None]:
    node = said.runs[name]
    params, seed = (node.get("params"), node.get("seed")) if isinstance(node, Mapping) else (None, None)
    if not isinstance(params, Mapping) or not all(map(_is_plain, params.values())) or not (seed is None or type(seed) is int):
        raise ConfigError(f"{said.path}: runs: {name}: expected {{params: {{...}}, seed: 0}}, got {node!r}")
    return {str(knob): value for knob, value in params.items()}, seed


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + more

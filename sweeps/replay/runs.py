"""Reads a folder of verl's metric files as a task, one training a file; refuses one that nothing can be learned of.

Beside them `runs.yaml` may say what they are:

    objective: {metric: val-core/*/acc/mean@1, direction: maximize, reduction: last}
    runs:
      a.jsonl: {params: {lr: 1e-5}, seed: 0}

Without it each file is a configuration of its own, and the objective is that of the default configuration. A file that ends before the
longest one was stopped, and is left out, unless it ends with NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from harness.errors import ConfigError, NonFiniteMetric
from harness.metrics import MetricReader
from harness.objective import Curve
from harness.types import Objective, Params
from sweeps.composed import CONF
from sweeps.config import read_objectives
from sweeps.replay.past import whole
from sweeps.replay.tasks import Recorded, Task, aligned

SIDECAR = "runs.yaml"


def read_runs(folder: Path) -> Task:
    """Files without a value of the objective are left out, too. Raises ConfigError."""
    said = _sidecar(folder / SIDECAR)
    objective = _objective(folder, said)
    params: dict[str, Params] = {}
    labels: dict[str, str] = {}
    curves: dict[str, dict[int, Recorded]] = {}
    recorded = {file: curve for file in sorted(folder.glob("*.jsonl")) if (curve := _recorded(file, objective)) is not None}
    total_steps = max((curve[-1][0] for curve in recorded.values()), default=0)
    for file, curve in recorded.items():
        if curve[-1][0] < total_steps and math.isfinite(curve[-1][1]):
            continue
        point, seed = _run(folder, said, file.name)
        key = file.name if point is None else repr(sorted(point.items()))
        labels.setdefault(key, file.stem)
        params.setdefault(key, point or {})
        curves.setdefault(key, {})[seed] = curve
    if len(curves) < 2:
        raise ConfigError(
            f"{folder} has {len(curves)} configurations that logged {objective.metric}; a replay needs two at least; "
            f"{SIDECAR} beside the files says what the objective is, and what each file is"
        )
    return Task(
        name=folder.name,
        labels=tuple(labels.values()),
        params=tuple(params.values()),
        curves_cs=aligned(curves.values()),
        objective=objective,
        total_steps=total_steps,
    )


def _recorded(file: Path, objective: Objective) -> Recorded | None:
    curve = Curve(objective)
    try:
        curve.extend(MetricReader(file).new_points())
    except NonFiniteMetric:
        return whole(curve, diverged=True)
    return whole(curve, diverged=False)


def _sidecar(path: Path) -> Mapping[str, Any]:
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not readable: {' '.join(str(error).split())}") from error
    if not isinstance(said, Mapping) or not isinstance(said.get("runs", {}), Mapping) or not isinstance(said.get("objective", {}), Mapping):
        raise ConfigError(f"{path}: expected the mappings objective and runs")
    return said


def _objective(folder: Path, said: Mapping[str, Any]) -> Objective:
    default = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))["objective"]
    unknown = sorted(said.get("objective", {}).keys() - default.keys())
    if unknown:
        raise ConfigError(f"{folder / SIDECAR}: objective has no {unknown[0]}; it takes {', '.join(default)}")
    objectives = read_objectives({**default, **said.get("objective", {})})
    if len(objectives) > 1:
        raise ConfigError(f"{folder / SIDECAR}: a replay needs one objective, got {len(objectives)}")
    return objectives[0]


def _run(folder: Path, said: Mapping[str, Any], name: str) -> tuple[Params | None, int]:
    """Its point, or None where nothing is said of it; and its seed."""
    node = said.get("runs", {}).get(name)
    if node is None:
        return None, 0
    point, seed = (node.get("params"), node.get("seed", 0)) if isinstance(node, Mapping) else (None, None)
    if not isinstance(point, Mapping) or not isinstance(seed, int) or isinstance(seed, bool):
        raise ConfigError(f"{folder / SIDECAR}: runs: {name}: expected {{params: {{...}}, seed: 0}}, got {node!r}")
    return {str(knob): value for knob, value in point.items()}, seed

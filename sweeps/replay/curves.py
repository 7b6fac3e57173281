"""Reads folders of recorded curves, one .npz a task; refuses a file that is none.

`perf_CST`: configurations (two at least) x seeds x checkpoints, these at equal distances and the last one at the end of the training; NaN
to the end: that run diverged; other NaN: nobody recorded it. `configs`: one JSON text, a list of their hyperparameters, in the same order.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from harness.errors import ConfigError
from harness.types import Objective, Params
from sweeps.replay.tasks import Recorded, Task

PERF = "perf_CST"


def perf_by_task(folder: Path) -> dict[str, Any]:
    """`perf_CST` of each file, by the file's name. Raises ConfigError."""
    return {file.stem: _array(file) for file in sorted(folder.glob("*.npz"))}


def read_curves(file: Path) -> Task:
    """Steps are checkpoints, the first one being 1; higher values are better. Raises ConfigError."""
    perf_cst = _array(file)
    params = _configurations(file, len(perf_cst))
    return Task(
        name=file.stem,
        labels=tuple(range(len(params))),
        params=params,
        curves_cs=tuple(tuple(_recorded(curve) for curve in seeds) for seeds in perf_cst.tolist()),
        objective=Objective(metric=PERF),
        total_steps=perf_cst.shape[2],
    )


def _recorded(values: list[float]) -> Recorded:
    """Up to the first of the NaN with which it ends, if it does; NaN before other numbers are points that nobody recorded."""
    finite = [step for step, value in enumerate(values, 1) if math.isfinite(value)]
    last = min(max(finite, default=0) + 1, len(values))
    return tuple((step, values[step - 1]) for step in sorted({*finite, last}))


def _array(file: Path) -> Any:
    found = _member(file, PERF)
    if found.ndim != 3 or found.dtype.kind not in "fiu" or 0 in found.shape or len(found) < 2:
        raise ConfigError(
            f"{file}: expected {PERF} of configurations (two at least) x seeds x checkpoints, got {found.dtype} of shape {found.shape}"
        )
    return found.astype(float)


def _configurations(file: Path, count: int) -> tuple[Params, ...]:
    try:
        listed = json.loads(str(_member(file, "configs")))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{file}: expected configs to be one JSON text: {error}") from error
    if not isinstance(listed, list) or len(listed) != count or not all(isinstance(one, Mapping) for one in listed):
        raise ConfigError(f"{file}: expected configs to list {count} mappings, as {PERF} has so many configurations")
    return tuple(dict(one) for one in listed)


def _member(file: Path, name: str) -> Any:
    try:
        with file.open("rb") as opened, np.load(opened) as arrays:  # refuses pickles
            return arrays[name]
    except KeyError as error:
        raise ConfigError(f"{file} has no array {name}") from error
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise ConfigError(f"{file} is no .npz file of plain arrays: {error}") from error

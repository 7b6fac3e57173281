"""Folders of recorded curves for tests of replays, and replays of them in this process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.types import Direction, Objective
from sweeps.replay.tasks import Task


def write_curves(folder: Path, name: str, perf: Any, configs: Sequence[Mapping[str, Any]] | None = None) -> Path:
    """`perf`: configurations x seeds x checkpoints. Without `configs` a knob says how good a configuration is."""
    perf = np.asarray(perf, dtype=np.float32)
    folder.mkdir(exist_ok=True)
    listed = configs if configs is not None else [{"x": float(index)} for index in range(len(perf))]
    np.savez(folder / f"{name}.npz", perf_CST=perf, configs=json.dumps(listed))
    return folder


def ladder(count: int, *, seeds: int = 3, checkpoints: int = 10, noise: float = 0.0, seed: int = 0) -> Any:
    """Straight curves that never cross, the later configurations above the earlier ones."""
    ends = np.arange(1, count + 1)[:, None, None] * np.linspace(0.1, 1, checkpoints)
    return ends + noise * np.random.default_rng(seed).standard_normal((count, seeds, checkpoints))


def task(perf: Any, configs: Sequence[Mapping[str, Any]] | None = None, *, direction: Direction = Direction.MAXIMIZE) -> Task:
    curves = tuple(tuple(tuple(enumerate(map(float, curve), 1)) for curve in seeds) for seeds in perf)
    return Task(
        name="made-up",
        labels=tuple(range(len(curves))),
        params=tuple(dict(one) for one in configs) if configs is not None else tuple({"x": float(index)} for index in range(len(curves))),
        curves_cs=curves,
        objective=Objective(metric="perf", direction=direction),
        total_steps=len(curves[0][0]),
    )

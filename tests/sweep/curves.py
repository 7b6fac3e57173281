"""Curves for tests of pruners, made up or recorded, and studies that play them one trial at a time or side by side."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import optuna
from optuna.pruners import BasePruner
from optuna.trial import TrialState

from sweeps.pruners import spending
from sweeps.replay.curves import perf_by_task

FOLDER = "VERL_SWEEP_CURVES"  # the environment variable that names a folder of recorded curves, *.npz with perf_CST
Curves = Sequence[Sequence[float]]  # trial by trial, its value at steps 1, 2, ...


def made_up(seed: int, *, trials: int = 60, steps: int = 10) -> list[list[float]]:
    """Saturating, flat, collapsing; noisy, with ties."""
    rng = random.Random(seed)
    curves = []
    for _ in range(trials):
        top, rate, falls = rng.random(), rng.choice((0.05, 0.3, 1.0)), rng.random() < 0.2
        mean = [top * (1 - math.exp(-rate * step)) * (0.2 if falls and step > steps // 2 else 1) for step in range(1, steps + 1)]
        curves.append([round(value + rng.gauss(0, 0.05), 2) for value in mean])
    return curves


def recorded() -> dict[str, list[list[float]]]:
    """Each task's curves of each seed, in an order that is drawn anew for each seed; empty without a folder."""
    folder = os.environ.get(FOLDER)
    if not folder:
        return {}
    import numpy as np

    found = {}
    for name, perf_cst in perf_by_task(Path(folder)).items():
        for seed in range(perf_cst.shape[1]):
            order = np.random.default_rng(seed).permutation(len(perf_cst))
            found[f"{name}-{seed}"] = perf_cst[order, seed].tolist()
    return found


def one_by_one(pruner: BasePruner, curves: Curves, *, direction: str = "maximize", name: str = "sequential") -> list[int | None]:
    """The step at which each trial was stopped; None: it was complete, or failed because its last value is NaN."""
    study = optuna.create_study(pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=0), direction=direction, study_name=name)
    stops: list[int | None] = []
    for curve in curves:
        trial = study.ask()
        stops.append(None)
        for step, value in enumerate(curve, 1):
            trial.report(value, step)
            if trial.should_prune():
                stops[-1] = step
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            failed = math.isnan(curve[-1])
            study.tell(trial, None if failed else curve[-1], state=TrialState.FAIL if failed else None)
    return stops


def side_by_side(
    study: optuna.Study, curves: Curves, *, slots: int, every: int = 1, spent: Callable[[int, int], float] | None = None
) -> dict[int, int]:
    """Plays the curves in so many slots, step by step in turns; a freed slot takes the next. Trial -> the step at which it was stopped.

    `spent`: what the trial of a number has used up at a step, noted as the loop does it.
    """
    waiting, running, stops = list(curves), {}, {}
    while waiting or running:
        while waiting and len(running) < slots:
            trial = study.ask()
            running[trial.number] = (trial, waiting.pop(0), iter(range(every, 10**9, every)))
        for number, (trial, curve, steps) in list(running.items()):
            step = next(steps)
            if spent is not None:
                spending.note(trial, step, spent(number, step))
            trial.report(curve[step - 1], step)
            if trial.should_prune():
                stops[number] = step
                study.tell(trial, state=TrialState.PRUNED)
            elif step + every > len(curve):
                study.tell(trial, curve[step - 1])
            else:
                continue
            del running[number]
    return stops


def best_of(curves: Curves, numbers: Mapping[int, object] | Sequence[int]) -> int:
    """Of these trials, the one with the best last value."""
    return max(numbers, key=lambda number: curves[number][-1])

"""How often intervals and ties of a study's result are right on recorded runs: python -m benchmarks.result FOLDER

FOLDER holds one .npz a task, in it perf_CST: configurations x seeds x checkpoints, of which the last counts; each task also with its sign
turned. A study is drawn from a task: 34 configurations with one seed, of which the best get further ones. What a configuration's next seeds
are is drawn from those that were recorded, with their mean for truth.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator

from benchmarks.tables import heading, table
from harness import comparison
from harness.comparison import Spread
from harness.result import CONFIDENCE
from sweeps.replay.curves import perf_by_task

CONFIGURATIONS = 34
DESIGNS = ((10, 2), (10, 3), (4, 3), (2, 4))  # of the best so many, so many fresh seeds


@dataclass(frozen=True, kw_only=True, slots=True)
class Confirmed:
    """The best of one study, in the order of their first seed."""

    first: np.ndarray  # the seed that chose them
    fresh: np.ndarray  # configurations x seeds
    truth: np.ndarray
    regret: np.ndarray  # share of all configurations that are truly better


def ends(folder: Path) -> list[np.ndarray]:
    """Configurations x seeds, of each task and of its opposite; runs that diverged left out with their configuration."""
    found = []
    for perf_cst in perf_by_task(folder).values():
        last = perf_cst[:, :, -1]
        last = last[~np.isnan(last).any(axis=1)]
        if last.std() > 0:
            found += [last, -last]
    return found


def drawn(task: np.ndarray, rng: Generator, *, best: int, seeds: int) -> Confirmed:
    truth = task.mean(axis=1)
    pool = rng.choice(len(task), CONFIGURATIONS, replace=False)
    values = task[pool[:, None], rng.integers(0, task.shape[1], (CONFIGURATIONS, 1 + seeds))]
    order = np.argsort(-values[:, 0], kind="stable")[:best]
    regret = (truth[None, :] > truth[pool[order], None] + 1e-9).mean(axis=1)
    return Confirmed(first=values[order, 0], fresh=values[order, 1:], truth=truth[pool[order]], regret=regret)


def own(samples: Sequence[Sequence[float]]) -> list[Spread]:
    return [Spread(sd=float(np.std(sample, ddof=1)), degrees=len(sample) - 1) for sample in samples]


def pooled(samples: Sequence[Sequence[float]]) -> list[Spread]:
    variance = float(np.mean([np.var(sample, ddof=1) for sample in samples]))
    return [Spread(sd=math.sqrt(variance), degrees=sum(len(sample) - 1 for sample in samples)) for _ in samples]


def moderated(samples: Sequence[Sequence[float]]) -> list[Spread]:
    return [spread for spread in comparison.spreads(samples) if spread is not None]


RULES: Mapping[str, Callable[[Sequence[Sequence[float]]], list[Spread]]] = {"own": own, "pooled": pooled, "moderated": moderated}


def interval_cells(studies: Sequence[Confirmed], rule: Callable[[Sequence[Sequence[float]]], list[Spread]]) -> str:
    """How often an interval held the truth: of all, and of the one with the highest mean; and the mean half width in the pooled rule's."""
    held, of_best, widths = [], [], []
    for study in studies:
        samples, count = study.fresh.tolist(), study.fresh.shape[1]
        halves = np.array([comparison.half_width(spread, count, confidence=CONFIDENCE) for spread in rule(samples)])
        usual = np.array([comparison.half_width(spread, count, confidence=CONFIDENCE) for spread in pooled(samples)])
        within = np.abs(study.fresh.mean(axis=1) - study.truth) <= halves + 1e-9
        held.append(within.mean())
        of_best.append(within[int(np.argmax(study.fresh.mean(axis=1)))])
        widths.append(float(np.mean(halves)) / float(np.mean(usual)) if usual.any() else 1.0)
    return f"{np.mean(held):.2f}, {np.mean(of_best):.2f}, {np.mean(widths):.2f}"


def tie_cells(studies: Sequence[Confirmed]) -> list[str]:
    """How often the truly best of those that were confirmed is among those named, and the share that is named."""
    held, named = [], []
    for study in studies:
        kept = comparison.not_worse([dict(enumerate(values)) for values in study.fresh.tolist()], confidence=CONFIDENCE)
        held.append(study.truth[kept].max() >= study.truth.max() - 1e-9)
        named.append(len(kept) / len(study.truth))
    return [f"{np.mean(held):.2f}", f"{np.mean(named):.2f}"]


def pick_cells(studies: Sequence[Confirmed]) -> list[str]:
    """Mean regret of the highest mean over all seeds, and over those that chose nothing."""
    every = [study.regret[np.argmax(np.column_stack([study.first, study.fresh]).mean(axis=1))] for study in studies]
    fresh = [study.regret[np.argmax(study.fresh.mean(axis=1))] for study in studies]
    return [f"{np.mean(every):.4f}", f"{np.mean(fresh):.4f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeat", type=int, default=50, help="studies drawn from each task")
    asked = parser.parse_args()
    heading()
    tasks = ends(asked.folder)
    print(f"{len(tasks)} tasks, each sign counted; {asked.repeat} studies each\n")
    rows = []
    for best, seeds in DESIGNS:
        rng = np.random.default_rng(0)
        studies = [drawn(task, rng, best=best, seeds=seeds) for task in tasks for _ in range(asked.repeat)]
        intervals = [interval_cells(studies, rule) for rule in RULES.values()]
        rows.append([f"{best} with {seeds}", *intervals, *tie_cells(studies), *pick_cells(studies)])
    rules = (f"{rule}: held, of the best, width" for rule in RULES)
    table(("confirmed, fresh seeds", *rules, "best named", "share named", "regret, all seeds", "regret, fresh seeds"), rows)


if __name__ == "__main__":
    main()

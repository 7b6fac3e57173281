"""How good a configuration each policy picks on recorded curves, and at which cost: python -m benchmarks.policies FOLDER [--part ...]

FOLDER holds one .npz a task (docs/replay.md). Every policy plays the same studies: the same order of random configurations, the same first
seed. Regret is the share of all configurations that are truly better than the one picked; each table has it for the curves as they are and
for the same curves with less being better, since the sign of some recorded tasks looks inverted.

references  policies at their budgets, with 95 % intervals of the mean over repetitions and over tasks
budgets     regret against the budget
slots       trials at the same time, and the wall clock in full trainings
settings    numbers of the default plan, chosen by the other tasks for each task
agreement   sequential studies: trials that our pruners stop where Optuna's do
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.pruners import BasePruner, HyperbandPruner, SuccessiveHalvingPruner

from benchmarks.tables import heading, table
from harness.types import Direction
from sweeps.pruners.asha import AshaPruner
from sweeps.pruners.hyperband import AshaHyperbandPruner
from sweeps.replay.campaign import play_all
from sweeps.replay.curves import perf_by_task
from sweeps.replay.play import Game
from sweeps.replay.policy import Policy, read_policy
from sweeps.replay.read import read_tasks
from sweeps.replay.tasks import Task, end_of
from sweeps.replay.verdict import as_data

RUNS = 40
# Their own budgets where a reference is defined by one; restores make the strong one's 39.3 trainings 40.2.
REFERENCES = {
    "random": RUNS,
    "median": RUNS,
    "asha": RUNS,
    "asha, by 3 from the first checkpoint": RUNS,
    "asha of Ray Tune, by 3 from the first checkpoint": RUNS,
    "asha_hyperband": RUNS,
    "top_ten": 64,
    "strong": 40.2,
    "default": RUNS,
}
BY_THREE = {"min_resource": 1, "reduction_factor": 3, "n_min_trials": 1, "window": 1, "smoothing": "median"}
RAYS = {"_target_": "benchmarks.ray_asha.RayAshaPruner", "grace_period": 1, "reduction_factor": 3, "max_t": 10}
SETTINGS: Sequence[Mapping[str, Any]] = (
    {},
    {"explore": 0.55},
    {"explore": 0.75},
    {"configurations": 0.9},
    {"configurations": 1.5},
    {"keep": [0.33, 0.5]},
    {"keep": [0.6, 0.6]},
    {"confirm": [[0.25, 2], [0.1, 3]]},
    {"confirm": [[0.1, 4]]},
)
FREE_SPLITS = ((4, 4), (5, 4), (10, 4), (13, 3), (20, 2), (40, 1))  # configurations, more seeds of each


def policy(name: str, runs: float) -> Policy:
    base, _, changed = name.partition(", ")
    if base == "asha of Ray Tune":
        return replace(read_policy("asha", runs), name=name, pruner=RAYS)
    found = read_policy(base, runs)
    return replace(found, name=name, pruner={**found.pruner, **BY_THREE}) if changed else found


def both_ways(tasks: Sequence[Task]) -> dict[Direction, tuple[Task, ...]]:
    return {direction: tuple(task.toward(direction) for task in tasks) for direction in (Direction.MAXIMIZE, Direction.MINIMIZE)}


def outcomes(tasks: Sequence[Task], asked: Policy, game: Game, repeat: int) -> list[dict[str, Any]]:
    return [as_data(play_all(some, asked, game, repeat)) for some in both_ways(tasks).values()]


def references(tasks: Sequence[Task], repeat: int) -> None:
    rows = {}
    for name, runs in REFERENCES.items():
        rows[name] = outcomes(tasks, policy(name, runs), Game(runs=runs, slots=1, seed=0), repeat)
        print(f"  {name}: {rows[name][0]['mean_regret']:.4f}, {rows[name][1]['mean_regret']:.4f}", flush=True)
    ours = rows["default"]
    columns = (
        "policy",
        "full runs",
        "regret",
        "over repetitions",
        "over tasks",
        "times the default's",
        "less is better",
        "times the default's",
    )
    rows["first runs free, then more seeds"] = _free(tasks, repeat)
    table(
        columns,
        [
            [name, f"{up['full_runs']:.1f}", *_judged(up, ours[0]), *[_judged(down, ours[1])[cell] for cell in (0, 3)]]
            for name, (up, down) in rows.items()
        ],
    )


def _judged(data: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    ends = [data.get(name) for name in ("regret_interval", "regret_interval_of_tasks")]
    spans = [f"{pair[0]:.3f} to {pair[1]:.3f}" if pair else "" for pair in ends]
    return [f"{data['mean_regret']:.4f}", *spans, f"{data['mean_regret'] / ours['mean_regret']:.1f}"]


def _free(tasks: Sequence[Task], repeat: int) -> list[dict[str, Any]]:
    """What the best allocation could reach for one who sees the end of each configuration's first run for nothing: the whole budget goes
    into more seeds of the best by that, split in the way that turned out best, and the best mean is picked.
    """
    return [
        {"full_runs": RUNS, "mean_regret": min(float(np.mean([_split(task, *split, repeat) for task in some])) for split in FREE_SPLITS)}
        for some in both_ways(tasks).values()
    ]


def _split(task: Task, configurations: int, more: int, repeat: int) -> float:
    sign = 1 if task.objective.direction is Direction.MAXIMIZE else -1
    ends = np.array([[sign * end_of(curve, task.objective) for curve in curves if curve] for curves in task.curves_cs])
    ends = np.where(np.isnan(ends), np.nanmin(ends), ends)
    regrets, found = task.regrets(), []
    for number in range(repeat):
        seeds = np.random.default_rng(number).permutation(ends.shape[1])
        best = np.argsort(-ends[:, seeds[0]], kind="stable")[:configurations]
        found.append(regrets[best[ends[np.ix_(best, seeds[: 1 + more])].mean(axis=1).argmax()]])
    return float(np.mean(found))


def budgets(tasks: Sequence[Task], repeat: int) -> None:
    names, amounts = ("asha", "strong", "default"), (10, 20, 40, 80)
    rows = []
    for name in names:
        found = [outcomes(tasks, policy(name, runs), Game(runs=runs, slots=1, seed=0), repeat) for runs in amounts]
        rows.append([name, *(f"{up['mean_regret']:.3f}, {down['mean_regret']:.3f}" for up, down in found)])
        print(f"  {rows[-1]}", flush=True)
    table(("policy: regret as it is, less is better", *(f"{runs} full runs" for runs in amounts)), rows)


def slots(tasks: Sequence[Task], repeat: int) -> None:
    names, counts = ("asha", "default"), (1, 4, 16, 64)
    rows = []
    for name in names:
        found = [outcomes(tasks, policy(name, RUNS), Game(runs=RUNS, slots=count, seed=0), repeat) for count in counts]
        rows.append([name, *(f"{up['mean_regret']:.3f}, {down['mean_regret']:.3f}; {up['wall']:.1f}" for up, down in found)])
        print(f"  {rows[-1]}", flush=True)
    table(("policy: regret as it is, less is better; wall", *(f"{count} slots" for count in counts)), rows)


def settings(tasks: Sequence[Task], repeat: int) -> None:
    default, game = policy("default", RUNS), Game(runs=RUNS, slots=1, seed=0)
    by_setting = []
    for changed in SETTINGS:
        tried = replace(default, plan={**default.plan, **changed})
        by_setting.append([[one["regret"] for one in data["tasks"].values()] for data in outcomes(tasks, tried, game, repeat)])
        print(f"  {dict(changed)}: {np.mean(by_setting[-1], axis=1)}", flush=True)
    regret_swt = np.array(by_setting)  # settings x ways x tasks
    rows = [
        [str(dict(changed)) if changed else "as it is", *_cells(regrets)] for changed, regrets in zip(SETTINGS, regret_swt, strict=True)
    ]
    table(("plan", "regret", "regret, less is better"), [*rows, ["each task by the best on the others", *_cells(left_out(regret_swt))]])


def left_out(regret_swt: np.ndarray) -> np.ndarray:
    """For each way and task the regret of the setting that is best on all other tasks, both ways counted: ways x tasks."""
    of_all = regret_swt.sum(axis=1)
    chosen = (of_all.sum(axis=1, keepdims=True) - of_all).argmin(axis=0)
    return regret_swt[chosen, :, np.arange(len(chosen))].T


def _cells(regret_wt: np.ndarray) -> list[str]:
    return [f"{value:.4f}" for value in regret_wt.mean(axis=1)]


def agreement(folder: Path) -> None:
    pairs: dict[str, tuple[Callable[[], BasePruner], Callable[[], BasePruner]]] = {
        "asha": (
            lambda: SuccessiveHalvingPruner(min_resource=1, reduction_factor=3, min_early_stopping_rate=0),
            lambda: AshaPruner(min_resource=1, reduction_factor=3),
        ),
        "asha_hyperband": (
            lambda: HyperbandPruner(min_resource=1, max_resource=10, reduction_factor=3),
            lambda: AshaHyperbandPruner(min_resource=1, reduction_factor=3, brackets=3),
        ),
    }
    rows = []
    for name, (theirs, ours) in pairs.items():
        studies = list(_sequences(folder))
        stops = [pair for curves in studies for pair in zip(_stops(theirs(), curves), _stops(ours(), curves), strict=True)]
        stopped, same = sum(stop is not None for stop, _ in stops), sum(stop == other for stop, other in stops)
        rows.append([name, *map(str, (len(studies), len(stops), stopped, same))])
    table(("pruner", "studies", "trials", "stopped by Optuna's", "alike by ours"), rows)


def _sequences(folder: Path) -> Iterator[list[list[float]]]:
    """The curves of each task and seed in a random order, without those in which a NaN is."""
    for perf_cst in perf_by_task(folder).values():
        for seed in range(perf_cst.shape[1]):
            order = np.random.default_rng(seed).permutation(len(perf_cst))
            yield [curve for curve in perf_cst[order, seed].tolist() if not any(map(math.isnan, curve))]


def _stops(pruner: BasePruner, curves: Sequence[Sequence[float]]) -> Iterator[int | None]:
    """One after the other; the step at which each was stopped, if it was."""
    study = optuna.create_study(pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=0), direction="maximize", study_name="sequential")
    for curve in curves:
        trial, stop = study.ask(), None
        for step, value in enumerate(curve, 1):
            trial.report(value, step)
            if trial.should_prune():
                stop = step
                break
        study.tell(trial, curve[-1] if stop is None else None, state=None if stop is None else optuna.trial.TrialState.PRUNED)
        yield stop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--part", default="references", choices=("references", "budgets", "slots", "settings", "agreement"))
    parser.add_argument("--repeat", type=int, default=20, help="studies of each task")
    asked = parser.parse_args()
    heading()
    if asked.part == "agreement":
        agreement(asked.folder)
        return
    tasks = read_tasks(asked.folder)
    print(f"{len(tasks)} tasks, {asked.repeat} studies of each\n", flush=True)
    {"references": references, "budgets": budgets, "slots": slots, "settings": settings}[asked.part](tasks, asked.repeat)


if __name__ == "__main__":
    main()

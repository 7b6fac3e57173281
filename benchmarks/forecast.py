"""How often the forecast's intervals hold the end of recorded curves, and how wide they are: python -m benchmarks.forecast FOLDER

FOLDER holds one .npz a task, in it perf_CST: configurations x seeds x checkpoints at equal distances, the last one at the end.
A study is drawn from a task: each configuration by one of its seeds; some have ended, others are forecast. Width and score are shares of
the distance between the lowest and the highest twentieth of the task's ends; the score (Gneiting and Raftery 2007, eq. 43) is the width
plus what the misses cost, the smaller the better. Tasks whose ends are all alike are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.tables import heading, table
from harness.forecast import NEAR, SURPRISE, Whole, forecast
from sweeps.replay.curves import perf_by_task

FRACTIONS = (0.2, 0.4, 0.6, 0.8)
COVERAGES = (0.8, 0.9)
ENDED = (4, 8, 16, 32)  # trials of the study that have ended
SETTINGS = [(near, surprise) for near in (0.05, 0.1, 0.2) for surprise in (0.1, 0.25, 0.5)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One curve to forecast."""

    task: str
    fraction: float
    ended: int
    curve: np.ndarray  # its values so far
    wholes: np.ndarray  # of those that ended: trials x checkpoints
    end: float
    unit: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    case: Case
    coverage: float
    held: bool
    width: float
    score: float


def cases(perf_by_task: Mapping[str, np.ndarray], *, repeat: int, forecasts: int) -> Iterator[Case]:
    for task, perf_cst in perf_by_task.items():
        low, high = np.nanpercentile(perf_cst[:, :, -1], (5, 95))
        if high <= low:
            continue
        configurations, seeds, checkpoints = perf_cst.shape
        for number in range(repeat):
            rng = np.random.default_rng(number)
            curves = perf_cst[np.arange(configurations), rng.integers(0, seeds, configurations)]
            curves = curves[rng.permutation(configurations)]
            curves = curves[~np.isnan(curves).any(axis=1)]
            for ended in ENDED:
                for fraction in FRACTIONS:
                    so_far = round(fraction * checkpoints)
                    for curve in curves[ended : ended + forecasts]:
                        yield Case(
                            task=task,
                            fraction=fraction,
                            ended=ended,
                            curve=curve[:so_far],
                            wholes=curves[:ended],
                            end=float(curve[-1]),
                            unit=float(high - low),
                        )


def judge(case: Case, *, near: float = NEAR, surprise: float = SURPRISE, sigmoid: bool = False) -> list[Judged]:
    """With `sigmoid`, where a curve stands is the end of the sigmoid through it, for the ended ones as well."""
    curve, wholes = (_by_sigmoid(case) if sigmoid else None) or (_reports(case.curve), [_reports(whole) for whole in case.wholes])
    ended = [Whole(reports=reports, value=float(end)) for reports, end in zip(wholes, case.wholes[:, -1], strict=True)]
    found = []
    for coverage in COVERAGES:
        expected = forecast(curve, ended, coverage=coverage, near=near, surprise=surprise)
        assert expected is not None
        miss = max(expected.low - case.end, case.end - expected.high, 0.0)
        width = expected.high - expected.low
        found.append(
            Judged(
                case=case,
                coverage=coverage,
                held=miss <= 1e-9 * case.unit,
                width=width / case.unit,
                score=(width + 2 / (1 - coverage) * miss) / case.unit,
            )
        )
    return found


def _reports(values: Sequence[float]) -> dict[int, float]:
    return {step: float(value) for step, value in enumerate(values, 1)}


def _by_sigmoid(case: Case) -> tuple[dict[int, float], list[dict[int, float]]] | None:
    """Its end at every checkpoint up to now, as the forecast takes its levels from there; None: too few points for four parameters."""
    so_far, checkpoints = len(case.curve), case.wholes.shape[1]
    if so_far < 4:
        return None
    ends = sigmoid_ends(np.vstack([case.curve, case.wholes[:, :so_far]]), checkpoints)
    curve, *wholes = (_reports([end] * so_far) for end in ends)
    return curve, [{**reports, checkpoints: float(whole[-1])} for reports, whole in zip(wholes, case.wholes, strict=True)]


def sigmoid_ends(curves: np.ndarray, checkpoints: int) -> np.ndarray:
    """R0 + (A - R0) / (1 + (C / t)^B) at the end (arXiv 2510.13786, eq. 1): least squares over a grid of B and C, the others being linear.

    The end stays within the curve's own range, and as much again on either side.
    """
    count, so_far = curves.shape
    steps = np.arange(1, checkpoints + 1) / checkpoints
    best, ends = np.full(count, np.inf), np.zeros(count)
    mean = curves.mean(axis=1, keepdims=True)
    for middle in np.geomspace(0.05, 2, 12):
        for power in (0.5, 1, 1.5, 2, 3, 5, 8):
            shape = 1 / (1 + (middle / steps) ** power)
            known = shape[:so_far] - shape[:so_far].mean()
            slope = (curves - mean) @ known / (known @ known)
            error = ((curves - mean - slope[:, None] * known) ** 2).sum(axis=1)
            end = mean[:, 0] + slope * (shape[-1] - shape[:so_far].mean())
            ends, best = np.where(error < best, end, ends), np.minimum(error, best)
    low, high = curves.min(axis=1), curves.max(axis=1)
    return np.clip(ends, low - (high - low), high + (high - low))


def mean_score(judged: Sequence[Judged], tasks: set[str]) -> float:
    """Over tasks."""
    return float(np.mean([np.mean([one.score for one in judged if one.case.task == task]) for task in sorted(tasks)]))


def rows(judged: Sequence[Judged]) -> Iterator[list[str]]:
    for coverage in COVERAGES:
        for ended in ENDED:
            part = [one for one in judged if one.coverage == coverage and one.case.ended == ended]
            cells = []
            for fraction in FRACTIONS:
                here = [one for one in part if one.case.fraction == fraction]
                cells.append(f"{np.mean([one.held for one in here]):.2f}, {np.mean([one.width for one in here]):.2f}")
            yield [f"{coverage:.0%}", str(ended), *cells, f"{np.mean([one.score for one in part]):.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeat", type=int, default=4, help="studies drawn from each task")
    parser.add_argument("--forecasts", type=int, default=24, help="curves that are forecast in each")
    asked = parser.parse_args()
    heading()
    drawn = list(cases(perf_by_task(asked.folder), repeat=asked.repeat, forecasts=asked.forecasts))
    names = {case.task for case in drawn}
    print(f"{len(names)} tasks, {asked.repeat} studies each, {len(drawn)} curves forecast\n", flush=True)
    by_setting = {setting: [one for case in drawn for one in judge(case, near=setting[0], surprise=setting[1])] for setting in SETTINGS}
    others = {
        "all curves alike": [one for case in drawn for one in judge(case, near=float("inf"))],
        "by the sigmoid's end": [one for case in drawn for one in judge(case, sigmoid=True)],
    }
    named = {f"near {near}, surprise {surprise}": judged for (near, surprise), judged in by_setting.items()} | others
    table(
        ("method", *(f"{coverage:.0%}: held, width, score" for coverage in COVERAGES)),
        [[name, *(_summary(judged, coverage) for coverage in COVERAGES)] for name, judged in named.items()],
    )
    held_out = []
    for task in sorted(names):
        near, surprise = min(by_setting, key=lambda setting: mean_score(by_setting[setting], names - {task}))
        print(f"best without {task}: near {near}, surprise {surprise}")
        held_out += [one for one in by_setting[near, surprise] if one.case.task == task]
    print()
    columns = ("interval", "ended", *(f"at {fraction:.0%}: held, width" for fraction in FRACTIONS), "score")
    print(f"each task by the setting that was best on the other {len(names) - 1}\n")
    table(columns, list(rows(held_out)))
    print(f"near {NEAR}, surprise {SURPRISE}, as the forecast has them\n")
    table(columns, list(rows([one for case in drawn for one in judge(case)])))


def _summary(judged: Sequence[Judged], coverage: float) -> str:
    part = [one for one in judged if one.coverage == coverage]
    return ", ".join(
        f"{np.mean(values):.2f}" for values in ([one.held for one in part], [one.width for one in part], [one.score for one in part])
    )


if __name__ == "__main__":
    main()

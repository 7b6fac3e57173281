"""When to start no more trials: rules for a study without more seeds, on recorded runs: python -m benchmarks.stopping FOLDER

FOLDER as in benchmarks.result. Configurations come in random order with one seed each, at most a hundred; the best one when the rule stops
is picked. Each rule is asked with several settings, so that rules can be compared where they spend alike.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.result import ends
from benchmarks.tables import heading, table

MOST = 100
Rule = Callable[[np.ndarray], int]  # the values in the order in which they came -> how many are looked at


def fixed(count: int) -> Rule:
    return lambda _: count


def flat_trials(count: int) -> Rule:
    """The product's: so many in a row that are no better than the best before them."""

    def rule(values: np.ndarray) -> int:
        best, since = -np.inf, 0
        for number, value in enumerate(values, 1):
            best, since = (value, 0) if value > best else (best, since + 1)
            if since >= count:
                return number
        return len(values)

    return rule


def expected_gain(least: float, first: int, top: int = 5) -> Rule:
    """Of the next trial over the best, in the task's spread: the mean excess of the `top` best over the one behind them, over one more than
    there are trials. That is exact where the upper tail is exponential, whose scaled spacings all have the tail's scale (Rényi 1953).
    `first`: trials before it is asked.
    """

    def rule(values: np.ndarray) -> int:
        for number in range(first, len(values) + 1):
            best = np.sort(values[:number])[::-1]
            if (best[:top].mean() - best[top]) / (number + 1) < least:
                return number
        return len(values)

    return rule


RULES: Sequence[tuple[str, Rule]] = (
    *((f"always {count}", fixed(count)) for count in (12, 16, 24, 32, 48)),
    *((f"flat_trials {count}", flat_trials(count)) for count in (8, 12, 16, 24, 32)),
    *(
        (f"expected gain below {least:g}, from {first} trials on", expected_gain(least, first))
        for first in (6, 16)
        for least in (0.01, 0.005, 0.002)
    ),
)


def outcomes(tasks: Sequence[np.ndarray], rule: Rule, *, repeat: int) -> Iterator[tuple[float, float, float]]:
    """Trials, the share of configurations that are truly better than the picked one, and by how much the best is, in the task's spread."""
    for index, task in enumerate(tasks):
        low, high = np.percentile(task, (5, 95))
        if high <= low:
            continue
        values, truth = (task - low) / (high - low), (task.mean(axis=1) - low) / (high - low)
        for number in range(repeat):
            rng = np.random.default_rng([index, number])
            order = rng.permutation(len(task))[:MOST]
            seen = values[order, rng.integers(0, task.shape[1], len(order))]
            count = rule(seen)
            picked = order[int(np.argmax(seen[:count]))]
            yield count, float((truth > truth[picked] + 1e-9).mean()), float(truth.max() - truth[picked])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeat", type=int, default=60, help="orders of each task")
    asked = parser.parse_args()
    heading()
    tasks = ends(asked.folder)
    rows = []
    for name, rule in RULES:
        trials, rank, value = (np.mean(column) for column in zip(*outcomes(tasks, rule, repeat=asked.repeat), strict=True))
        rows.append([name, f"{trials:.1f}", f"{rank:.3f}", f"{value:.3f}"])
    table(("rule", "trials", "regret", "lost, in the task's spread"), rows)


if __name__ == "__main__":
    main()

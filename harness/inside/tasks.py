"""Tasks of reasoning-gym as the two parquet files that verl reads; the same files for the same code, whatever the machine.

Train and test are drawn apart, but a space as small as the sums of two digits has the same problems in both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet

SPLITS = {"train": 1, "test": 2}  # split -> seed


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One reasoning-gym dataset and how its problems are put to the model."""

    source: str  # verl's data_source, and so part of the metrics' names
    dataset: str
    options: dict[str, int]
    prompt: str  # `{problem}` is the expression
    sizes: dict[str, int]  # split -> problems

    def rows(self, split: str) -> list[dict[str, Any]]:
        import reasoning_gym  # only here: a host that is given the data, or makes the policy only, does without

        problems = reasoning_gym.create_dataset(self.dataset, size=self.sizes[split], seed=SPLITS[split], **self.options)
        return [self._row(split, index, problem) for index, problem in enumerate(problems)]

    def _row(self, split: str, index: int, problem: dict[str, Any]) -> dict[str, Any]:
        text = self.prompt.format(problem=problem["metadata"]["expression"])
        return {
            "data_source": self.source,
            "prompt": [{"role": "user", "content": text}],
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": problem["answer"]},
            "extra_info": {"split": split, "index": index},
        }


CHAIN_SUM = Task(
    source="chain_sum",
    dataset="chain_sum",
    options={"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1},
    prompt="{problem} =",
    sizes={"train": 1024, "test": 32},
)
ARITHMETIC = Task(
    source="arithmetic",
    dataset="chain_sum",
    options={"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1},
    prompt="What is {problem}? Answer with one number only.",
    sizes={"train": 512, "test": 32},
)


def chain_sum(folder: Path) -> None:
    write(CHAIN_SUM, folder)


def arithmetic(folder: Path) -> None:
    write(ARITHMETIC, folder)


def write(task: Task, folder: Path) -> None:
    """`train.parquet` and `test.parquet`."""
    for split in SPLITS:
        parquet.write_table(arrow.Table.from_pylist(task.rows(split)), folder / f"{split}.parquet")


MAKERS: dict[str, Callable[[Path], None]] = {"chain_sum": chain_sum, "arithmetic": arithmetic}

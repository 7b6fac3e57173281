"""Tasks of reasoning-gym as the two parquet files that verl reads; the same files for the same code, whatever the machine.

Train and test are drawn apart, but a space as small as the sums of two digits has the same problems in both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet

from harness.errors import ConfigError
from harness.nearest import nearest_name

SPLITS = {"train": 1, "test": 2}  # split -> seed
HOW_TO_ANSWER = "Write your final answer, and nothing else, between <answer> and </answer>."


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


def reasoning_gym_dataset(folder: Path, *, dataset: str, options: Mapping[str, Any] | None, sizes: Mapping[str, int]) -> None:
    """Any of its datasets, problems as it words them. Raises ConfigError for one that it does not have, or options that it refuses."""
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    if dataset not in DATASETS:
        nearest = nearest_name(dataset, tuple(DATASETS))
        raise ConfigError(f"task.dataset: reasoning-gym has no {dataset!r}{f'; did you mean {nearest}?' if nearest else ''}")
    for split, seed in SPLITS.items():
        try:
            problems = list(reasoning_gym.create_dataset(dataset, size=sizes[split], seed=seed, **(options or {})))
        except (AssertionError, TypeError, ValueError) as error:  # how its datasets refuse
            raise ConfigError(f"task.options: reasoning-gym's {dataset} refuses {dict(options or {})}: {error}") from error
        rows = [_worded_row(dataset, split, index, problem) for index, problem in enumerate(problems)]
        parquet.write_table(arrow.Table.from_pylist(rows), folder / f"{split}.parquet")


def _worded_row(dataset: str, split: str, index: int, problem: Mapping[str, Any]) -> dict[str, Any]:
    entry = {name: value for name, value in problem.items() if name != "answer"}
    return {
        "data_source": f"reasoning_gym/{dataset}",
        "prompt": [{"role": "user", "content": f"{problem['question']}\n{HOW_TO_ANSWER}"}],
        "ability": "reasoning",
        "reward_model": {"style": "rule", "ground_truth": str(problem["answer"])},
        # As text: what a dataset's score looks at has another shape in each of them.
        "extra_info": {"split": split, "index": index, "dataset": dataset, "entry": json.dumps(entry, default=str)},
    }


MAKERS: dict[str, Callable[..., None]] = {"chain_sum": chain_sum, "arithmetic": arithmetic, "reasoning_gym": reasoning_gym_dataset}

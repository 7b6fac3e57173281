"""What `verl-study replay` becomes: `python -m sweeps.replay JSON` judges policies on recorded runs; starts no training."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from harness.runs.nouns import Wishes
from harness.terminal import console
from harness.types import Direction
from sweeps.app import one_sentence
from sweeps.replay.campaign import play_all
from sweeps.replay.play import Game
from sweeps.replay.policy import read_policies
from sweeps.replay.read import read_tasks
from sweeps.replay.verdict import as_data, as_table


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """The options of `verl-study replay`."""

    source: str
    policy: str
    runs: float
    repeat: int
    seed: int
    slots: int
    direction: Direction | None
    wishes: Wishes
    json: bool


def main(arguments: Sequence[str]) -> None:
    os.environ["HYDRA_FULL_ERROR"] = "1"
    with one_sentence("verl-study"):
        asked = msgspec.json.decode(arguments[0], type=Asked)
        found = replay(asked)
        if asked.json:
            print(json.dumps(found if len(found) > 1 else next(iter(found.values())), indent=2))
        else:
            console().print(as_table(found))


def replay(asked: Asked) -> dict[str, dict[str, Any]]:
    """What came of each policy. Raises ConfigError or TrackerError before the first is played."""
    tasks = read_tasks(asked.source, asked.wishes)
    if asked.direction is not None:
        tasks = tuple(task.toward(asked.direction) for task in tasks)
    game = Game(runs=asked.runs, slots=asked.slots, seed=asked.seed)
    policies = read_policies(asked.policy, asked.runs)
    return {policy.name: as_data(play_all(tasks, policy, game, asked.repeat)) for policy in policies}


if __name__ == "__main__":
    main(sys.argv[1:])

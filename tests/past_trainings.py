"""A program that leaves W&B runs as verl does, one after the other, by the real client, from the environment alone; for tests.

`python past_trainings.py JSON`, a list of {"name", "lr", "n", "values"} and, if wanted, "seed", "ending" (an exit code, or "killed": by
SIGKILL, and so the last of the list), "group", "tags", "first": `values` are those of the objective from step `first` (0) on, null for NaN.
A run that is killed loses the end of its log, so that it logs much beside.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from typing import Any

METRIC = "val-core/sums/acc/mean@1"
SECRET = "not-to-be-written-down"


def config(asked: dict[str, Any]) -> dict[str, Any]:
    """The part of verl's tree that matters here: copies of `n`, a place, a port, an environment."""
    n = asked["n"]
    return {
        "actor_rollout_ref": {
            "actor": {"optim": {"lr": asked["lr"]}, "rollout_n": n, "data_loader_seed": 42},
            "rollout": {"n": n, "seed": 42, "prometheus": {"port": 9000 + n}},
        },
        "critic": {"rollout_n": n},
        "data": {"seed": asked.get("seed")},
        "trainer": {
            "experiment_name": asked["name"],
            "default_local_dir": f"checkpoints/{asked['name']}",
            "n_gpus_per_node": 2,
            "nnodes": 1,
        },
        "ray_kwargs": {"ray_init": {"runtime_env": {"env_vars": {"HF_TOKEN": f"{SECRET}-{asked['name']}"}}}},
    }


def train(asked: dict[str, Any]) -> None:
    import wandb  # not where a test takes the names above

    killed = asked.get("ending") == "killed"
    run = wandb.init(
        project="gsm8k",
        name=asked["name"],
        group=asked.get("group"),
        tags=asked.get("tags"),
        config=config(asked),
        reinit="finish_previous",
        settings=wandb.Settings(silent=True, console="off"),
    )
    for step, value in enumerate(asked["values"], asked.get("first", 0)):
        run.log({METRIC: math.nan if value is None else value, "training/global_step": step}, step=step)
        run.log(
            {"timing_s/step": 1.5, "samples": wandb.Histogram([1.0, 2.0]), "note": "much " * 10_000 * killed}, step=step
        )  # the same step
    if killed:
        time.sleep(2.0)  # the client writes what it has
        os.kill(os.getpid(), signal.SIGKILL)
    run.finish(exit_code=asked.get("ending", 0))


if __name__ == "__main__":
    for one in json.loads(sys.argv[1]):
        train(one)

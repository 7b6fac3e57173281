"""W&B's own page of a sweep, for a study that Optuna drives: the sweep object is told the space, and is never asked for a point.

`python -m harness.trackers.sweep_page <study folder> [entity]` makes it, once for a study; needs a key and a server that answers. Run no
agent on it: W&B would propose points of its own.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import identity, records
from harness.errors import TrackerError
from harness.paths import StudyPaths
from harness.types import StudyRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepPage:
    """Where the trials' runs are attached."""

    id: str
    entity: str
    project: str


def sweep_config(record: StudyRecord) -> dict[str, Any]:
    """The study as W&B describes a sweep: `custom` is the method of whoever has a controller of his own. Pure."""
    objective = record.objectives[0]
    return {
        "name": record.name,
        "description": record.note or objective.metric,
        "method": "custom",
        "controller": {"type": "local"},
        "metric": {"name": identity.VALUE, "goal": objective.direction.value},
        "parameters": {identity.flat(knob): _parameter(json.loads(text)) for knob, text in record.space.items()},
    }


def _parameter(distribution: Mapping[str, Any]) -> dict[str, Any]:
    """Of Optuna's JSON."""
    asked = distribution["attributes"]
    if "choices" in asked:
        return {"values": asked["choices"]}
    kind = "int_uniform" if distribution["name"] == "IntDistribution" else "log_uniform_values" if asked.get("log") else "uniform"
    return {"distribution": kind, "min": asked["low"], "max": asked["high"]}


def make(study: StudyPaths, entity: str | None) -> None:
    """Raises TrackerError where W&B does not take it."""
    from harness.trackers import wandb_client

    record = records.read(study.record, StudyRecord)
    account = wandb_client.Account()
    whose = entity or account.default_entity
    made = account.new_sweep(sweep_config(record), entity=whose, project=record.name)
    records.replace(study.sweep, SweepPage(id=made, entity=whose, project=record.name))


if __name__ == "__main__":
    os.environ["WANDB_SILENT"] = "true"
    status = 0
    try:
        make(StudyPaths(Path(sys.argv[1])), sys.argv[2] if len(sys.argv) > 2 else None)
    except TrackerError as error:
        print(error, flush=True)
        status = 1
    os._exit(status)  # wandb's own ending waits for its service

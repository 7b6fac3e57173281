"""Where more is to be read of a trial: its log, its metrics, its W&B run, and the command that runs it again; reads small files only."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import quote

import yaml

from analysis.repro import repro_command
from harness.paths import AttemptPaths
from harness.status import StudyStatus
from harness.trackers import wandb_site
from harness.trial_status import TrialStatus, read_quietly
from harness.types import TrialSpec

_HEAD = 8192  # bytes: a spec's fields stand before verl's tree, which has a thousand lines


@dataclass(frozen=True, kw_only=True, slots=True)
class Links:
    """Paths are relative to the report's folder, as the page is opened where the study lies; empty: there is none."""

    log: str
    metrics: str
    wandb: str
    command: str


def links(status: StudyStatus, trial: TrialStatus) -> Links:
    attempts = status.paths.trial(trial.number).attempts()
    last = attempts[-1] if attempts else None
    spec = read_quietly(status.paths.trial(trial.number).spec, TrialSpec)
    return Links(
        log=_relative(status, f"{trial.engine}/engine.log") if trial.engine else "",
        metrics=_relative(status, f"{last.trial.root.name}/{last.root.name}/{last.metrics.name}") if last and last.metrics.exists() else "",
        wandb=_wandb(status, last) if last else "",
        command=repro_command(status.record, spec) if spec and not status.record.made_of else "",
    )


def _relative(status: StudyStatus, path: str) -> str:
    there = os.path.relpath(status.paths.root / path, status.paths.report)
    return quote(there) if (status.paths.root / path).exists() else ""


def _wandb(status: StudyStatus, attempt: AttemptPaths) -> str:
    """Its page, once W&B was told of all of it and the team is on record; else the folder of the offline run."""
    environment = _environment(attempt) if attempt.trial.told.exists() else {}
    entity, run = environment.get("WANDB_ENTITY"), environment.get("WANDB_RUN_ID")
    if entity and run:
        return wandb_site.run_page(entity, environment.get("WANDB_PROJECT") or status.record.name, run)
    runs = attempt.wandb_runs
    return _relative(status, os.path.relpath(runs[-1], status.paths.root)) if runs else ""


def _environment(attempt: AttemptPaths) -> dict[str, str]:
    try:
        with attempt.spec.open("rb") as file:
            head = file.read(_HEAD).partition(b"\nconfig:")[0]
        found = yaml.load(head, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 (a safe loader)
    except (OSError, yaml.YAMLError):
        return {}
    environment = found.get("environment") if isinstance(found, dict) else None
    return environment if isinstance(environment, dict) else {}

"""The one command that runs a trial of a study again, alone; pure."""

from __future__ import annotations

import shlex

from harness.types import StudyRecord, TrialSpec

_SWEEP_ONLY = ("hydra.sweeper", "hydra/sweeper", "hydra.sweep.", "hydra.launcher", "hydra/launcher", "hydra.mode", "study.name")


def repro_command(record: StudyRecord, trial: TrialSpec) -> str:
    return shlex.join(["verl-sweep", f"study.name={record.name}-repro-{trial.number}", *overrides_of(record, trial)])


def overrides_of(record: StudyRecord, trial: TrialSpec) -> list[str]:
    """The study's own arguments without those about the sweep and those that the trial sets, and then the trial's."""
    own = {_key(override) for override in trial.overrides}
    kept = [argument for argument in record.command if not _is_sweep_only(argument) and _key(argument) not in own]
    points = [override for override in trial.overrides if not _is_sweep_only(override)]
    return [*kept, *points]


def _is_sweep_only(argument: str) -> bool:
    return argument in ("-m", "--multirun") or _key(argument).startswith(_SWEEP_ONLY)


def _key(argument: str) -> str:
    """`actor.optim.lr` of `+actor.optim.lr=1e-5`; an option of Hydra's own, as in `--config-name`, is its own key."""
    return argument.lstrip("+~").partition("=")[0]

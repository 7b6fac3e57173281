"""Where the offline W&B runs of a study's trials are: one folder of links, because wandb's own tools look into one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from harness import records
from harness.paths import StudyPaths, TrialPaths
from harness.types import AttemptResult, TrialResult

CLOSED = "run_closed"  # the event that an engine has closed the attempt's run


def link(trial: TrialPaths) -> None:
    """Links the run of the whole trial, where there is one, instead of those of its attempts."""
    study = StudyPaths(trial.root.parent)
    parts = [run for attempt in trial.attempts() for run in attempt.wandb_runs]
    for run in trial.wandb_runs or parts:
        _link(study, run)
    if trial.wandb_runs:
        for run in parts:
            (study.wandb / run.name).unlink(missing_ok=True)


def link_study(study: StudyPaths) -> None:
    """Links all that is there: the trials that still run, and the study's own run, too."""
    for trial in study.trials():
        link(trial)
    for run in study.own_run.wandb_runs:
        _link(study, run)


def mark_synced(runs: Iterable[Path]) -> None:
    """`wandb sync` would send the rows again."""
    for log in (log for run in runs for log in run.glob("*.wandb")):
        log.with_suffix(".wandb.synced").touch()


def are_in_parts(trial: TrialPaths) -> bool:
    """Whether the engines did not leave the trial's one run: one was killed, there were several, or it ended as none knew."""
    attempts = trial.attempts()
    if trial.wandb_runs or not any(attempt.wandb_runs for attempt in attempts):
        return False
    if len(attempts) > 1 or not any(event.name == CLOSED for event in records.events(attempts[-1].events)):
        return True
    attempt, told = records.read_if_there(attempts[-1].result, AttemptResult), records.read_if_there(trial.result, TrialResult)
    return attempt is None or told is None or attempt.reason is not told.reason


def _link(study: StudyPaths, run: Path) -> None:
    study.wandb.mkdir(exist_ok=True)
    place = study.wandb / run.name
    if not place.is_symlink():
        with contextlib.suppress(FileExistsError):  # another process was faster
            place.symlink_to(Path("..") / run.relative_to(study.root))

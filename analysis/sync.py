"""`verl-study sync`: has W&B told of whatever it lacks of a study, shows how far that has come, and says honestly what is left."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import Progress

from harness.errors import TrackerError
from harness.paths import StudyPaths, TrialPaths
from harness.trackers import companion
from harness.trackers.trial_run import identity_of


@dataclass(slots=True)
class Tally:
    """What came of it, trial by trial."""

    told: int = 0
    rows: int = 0
    left: int = 0  # that go on, or that another process tells of
    errors: dict[int, str] = field(default_factory=dict)  # by the trial's number

    def add(self, line: dict[str, object]) -> None:
        """One line of the courier's; raises TrackerError where it gives up altogether."""
        if "trial" not in line:
            raise TrackerError(str(line.get("error")))
        match line:
            case {"trial": int(trial), "error": str(error)}:
                self.errors[trial] = error
            case {"told": True, "rows": int(rows)}:
                self.told += 1
                self.rows += rows
            case _:
                self.left += 1


def sync(study: StudyPaths) -> int:
    """Exit status: 0 where W&B has every trial that has ended, 1 where it does not. Raises TrackerError where nobody could be told."""
    waiting = [trial for trial in study.trials() if is_untold(trial)]
    if not waiting:
        print(f"{study.name}: W&B has every trial that ran")
        return 0
    tally = Tally()
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = progress.add_task(f"{study.name} to W&B", total=len(waiting))
        for line in companion.lines("harness.trackers.courier", "sync", str(study.root.absolute())):
            tally.add(json.loads(line))
            progress.advance(bar)
    return _report(study, tally, len(waiting))


def sync_study_run(study: StudyPaths) -> int:
    """The study's own run, where it has one. Raises TrackerError where nobody could be told."""
    if not study.own_run.spec.exists() or study.own_run.told.exists():
        return 0
    told: dict[str, object] = next(
        (json.loads(line) for line in companion.lines("sweeps.study_run", "sync", str(study.root.absolute()))), {}
    )
    if "error" in told:
        raise TrackerError(str(told["error"]))
    if told.get("told"):
        print(f"{study.name}: W&B was told of the study's own run")
    return 0 if told else 1


def is_untold(trial: TrialPaths) -> bool:
    """Whether it has a run that W&B does not have whole; none has one that was never given to an engine."""
    return not trial.told.exists() and identity_of(trial) is not None


def _report(study: StudyPaths, tally: Tally, waiting: int) -> int:
    for trial, error in tally.errors.items():
        print(f"verl-study: trial {trial}: {error}", file=sys.stderr)
    unsaid = waiting - tally.told - tally.left - len(tally.errors)  # the courier died
    if tally.told:
        print(f"{study.name}: W&B was told of {tally.told} trials, {tally.rows} steps")
    if tally.left:
        print(f"{study.name}: {tally.left} trials have not ended yet, or another process tells W&B of them")
    if tally.errors or unsaid:
        print(f"{study.name}: {len(tally.errors) + unsaid} trials are left to tell of; the same command goes on with them")
        return 1
    return 0

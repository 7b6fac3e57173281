"""A study as its records tell it at this moment, with or without a controller alive; reads files only, never Optuna, and writes nothing.

Whatever is torn, missing or still being written counts as not there yet: looking at a study never fails because the study goes on.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import processes, records
from harness.paths import StudyPaths, TrialPaths
from harness.result import Result, best_trial, is_candidate, result_of
from harness.trial_status import TrialStatus, TrialWatch, read_quietly
from harness.types import Direction, Lease, Objective, StudyRecord, TrialState


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyStatus:
    """Where a study stands at the moment `at`."""

    paths: StudyPaths
    record: StudyRecord
    trials: tuple[TrialStatus, ...]
    counts: dict[TrialState, int]  # every state is in it
    best: TrialStatus | None  # of the best configuration, by the first objective
    pareto: tuple[int, ...]  # numbers of the trials that none beats in every objective; empty with one objective
    controller: Lease | None
    controller_alive: bool  # on this host
    elapsed_s: float
    startup_share: float | None  # of the seconds of all trials
    full_runs: float | None  # spent so far, restores included, where n_trials is a number of them
    ended: bool  # all that was asked for has been told
    at: float

    @property
    def told(self) -> int:
        """How many trials have ended."""
        return sum(count for state, count in self.counts.items() if state.ended)

    def result(self) -> Result | None:
        """The configuration that the study found; None where no trial is complete, and with several objectives."""
        return result_of(self.trials, self.record.objectives)

    def best_mean(self) -> tuple[float, int] | None:
        """The best configuration's value, and of how many seeds it is the mean."""
        if self.best is None or not self.best.values:
            return None
        alike = sum(trial.configuration == self.best.configuration and is_candidate(trial) for trial in self.trials)
        result = self.result() if alike > 1 else None  # asked at each look
        return (self.best.values[0], 1) if result is None else (result.best.mean, len(result.best.seeds))

    @property
    def progress(self) -> float:
        """How much of what was asked for is done, from 0 to 1."""
        done = self.told if self.full_runs is None else self.full_runs
        return 1.0 if self.ended else min(done / max(self.record.n_trials, len(self.trials) if self.full_runs is None else 1, 1), 1.0)

    @property
    def elsewhere(self) -> bool:
        """Whether the controller was last seen on another host, whose processes cannot be seen from here."""
        return self.controller is not None and self.controller.host != socket.gethostname()


def find_studies(outputs: Path) -> list[StudyPaths]:
    """Every folder below `outputs` that holds a study's record, by name."""
    if not outputs.is_dir():
        return []
    studies = (StudyPaths(path) for path in sorted(outputs.iterdir()))
    return [study for study in studies if study.record.is_file()]


def load_study(paths: StudyPaths, *, details: bool = True) -> StudyStatus:
    """Raises FileNotFoundError or RecordError where the study's own record cannot be read. For `details` see StudyWatch."""
    return StudyWatch(paths, details=details).refresh()


def load_trial(paths: TrialPaths, objectives: Sequence[Objective], *, total_steps: int | None = None) -> TrialStatus:
    """`total_steps` is the study's, which a trial's own override supersedes."""
    study = StudyPaths(paths.root.parent)
    alive = processes.is_alive(read_quietly(study.lock, Lease))
    return TrialWatch(paths, objectives[0].metric, details=True).look(time.time(), controller_alive=alive, total_steps=total_steps)


class StudyWatch:
    """Follows a study: what was read once is not read again, and trials that ended are never looked at again.

    Without `details` the curve and the engine of ended trials are left out, which saves reading two logs a trial.
    """

    def __init__(self, paths: StudyPaths, *, details: bool = True) -> None:
        self.paths = paths
        self._details = details
        self._record: StudyRecord | None = None
        self._signature: tuple[int, int, int] | None = None
        self._ended: dict[int, TrialStatus] = {}
        self._open: dict[int, TrialWatch] = {}

    def refresh(self, now: float | None = None) -> StudyStatus:
        """Raises FileNotFoundError or RecordError where the study's own record cannot be read."""
        now = time.time() if now is None else now
        record = self._study_record()
        controller = read_quietly(self.paths.lock, Lease)
        alive = processes.is_alive(controller)
        trials = [self._trial(paths, record, now, alive) for paths in self.paths.trials()]
        return _summary(self.paths, record, [trial for trial in trials if trial is not None], controller, alive, now)

    def _study_record(self) -> StudyRecord:
        stat = self.paths.record.stat()
        signature = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if self._record is None or signature != self._signature:
            self._record, self._signature = records.read(self.paths.record, StudyRecord), signature
        return self._record

    def _trial(self, paths: TrialPaths, record: StudyRecord, now: float, alive: bool) -> TrialStatus | None:
        number = paths.number
        if number in self._ended:
            return self._ended[number]
        if number not in self._open:
            self._open[number] = TrialWatch(paths, record.objectives[0].metric, details=self._details)
        watch = self._open[number]
        status = watch.look(now, controller_alive=alive, total_steps=record.total_steps)
        if status.state.ended:
            self._ended[number] = status
            del self._open[number]
        return status if watch.known else None


def pareto(trials: Iterable[TrialStatus], objectives: Sequence[Objective]) -> tuple[int, ...]:
    """Numbers of those COMPLETE trials that no other one equals in every objective and beats in one; ascending."""
    signs = [-1.0 if objective.direction is Direction.MAXIMIZE else 1.0 for objective in objectives]
    losses = [
        (tuple(sign * value for sign, value in zip(signs, trial.values or (), strict=False)), trial.number)
        for trial in trials
        if is_candidate(trial)
    ]
    front: list[tuple[tuple[float, ...], int]] = []
    for loss, number in sorted(losses):  # whoever dominates a trial comes before it
        if not any(_dominates(other, loss) for other, _ in front):
            front.append((loss, number))
    return tuple(sorted(number for _, number in front))


def _summary(
    paths: StudyPaths, record: StudyRecord, trials: Sequence[TrialStatus], controller: Lease | None, alive: bool, now: float
) -> StudyStatus:
    counted = Counter(trial.state for trial in trials)
    counts = {state: counted[state] for state in TrialState}
    told = sum(counts[state] for state in TrialState if state.ended)
    working = alive or any(trial.state is TrialState.RUNNING and not trial.deserted for trial in trials)
    seconds = sum(trial.seconds or 0.0 for trial in trials)
    last_seen = max((trial.ended_at or trial.training_at or trial.started_at or 0.0 for trial in trials), default=0.0)
    return StudyStatus(
        paths=paths,
        record=record,
        trials=tuple(trials),
        counts=counts,
        best=best_trial(trials, record.objectives[0]),
        pareto=pareto(trials, record.objectives) if len(record.objectives) > 1 else (),
        controller=controller,
        controller_alive=alive,
        elapsed_s=max((now if working else last_seen) - record.created_at, 0.0),
        startup_share=sum(trial.startup_s or 0.0 for trial in trials) / seconds if seconds else None,
        full_runs=None if record.restore_cost is None else sum(_full_runs(trial, record.restore_cost) for trial in trials),
        ended=told >= record.n_trials if record.restore_cost is None else record.finished,
        at=now,
    )


def _full_runs(trial: TrialStatus, restore_cost: float) -> float:
    """What a trial has trained, as a share of its whole length, and what its restores are counted as."""
    share = min(trial.steps / trial.total_steps, 1.0) if trial.total_steps else 0.0
    return share + restore_cost * trial.restores


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))

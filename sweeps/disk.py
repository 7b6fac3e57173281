"""The room that a study's checkpoints take: those of pruned and beaten trials go at once, those of the best stay, a cap holds for all.

verl itself keeps a trial's last ones only (`trainer.max_actor_ckpt_to_keep`); it knows nothing of other trials.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harness import records
from harness.checkpoints import size
from harness.paths import StudyPaths, TrialPaths
from harness.types import Direction, Objective, TrialResult, TrialState

GIB = 2**30


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """An ended trial that has checkpoints."""

    number: int
    state: TrialState
    values: tuple[float, ...] | None
    size: int  # bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Paused:
    """A trial that may go on from its checkpoint."""

    steps: int
    value: float | None  # the objective's, when it was seen last


def least_promising(paused: Mapping[int, Paused], objective: Objective) -> list[int]:
    """Those that came least far first, the weaker before the better."""
    sign = 1 if objective.direction is Direction.MAXIMIZE else -1
    return sorted(paused, key=lambda number: (paused[number].steps, sign * (paused[number].value or 0.0), number))


def superfluous(kept: Sequence[Kept], objectives: Sequence[Objective], keep_best: int) -> list[int]:
    """The pruned and the beaten: all that completed but the `keep_best` best; with several objectives, but those on the Pareto front."""
    complete = [trial for trial in kept if trial.state is TrialState.COMPLETE and trial.values is not None]
    if len(objectives) == 1:
        beaten = sorted(complete, key=lambda trial: _costs(trial, objectives))[keep_best:]
    else:
        beaten = [trial for trial in complete if any(_dominates(other, trial, objectives) for other in complete)]
    return sorted([trial.number for trial in kept if trial.state is TrialState.PRUNED] + [trial.number for trial in beaten])


def _costs(trial: Kept, objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Less is better in each."""
    assert trial.values is not None
    signs = (-1 if objective.direction is Direction.MAXIMIZE else 1 for objective in objectives)
    return tuple(sign * value for sign, value in zip(signs, trial.values, strict=True))


def _dominates(one: Kept, other: Kept, objectives: Sequence[Objective]) -> bool:
    mine, theirs = _costs(one, objectives), _costs(other, objectives)
    return mine != theirs and all(a <= b for a, b in zip(mine, theirs, strict=True))


@dataclass(slots=True)
class CheckpointKeeper:
    """Keeps the checkpoints of one study in bounds."""

    study: StudyPaths
    objectives: tuple[Objective, ...]
    keep_best: int | None  # None: those of all trials
    cap: int  # bytes; 0: none
    say: Callable[[str], None]
    full: bool = False  # the cap is reached with nothing left to remove: trials that start now save none
    _ended: dict[int, TrialResult] = field(default_factory=dict)

    def tidy(self, paused: Mapping[int, Paused]) -> list[int]:
        """After a trial has ended or paused. Returns the paused ones that have to be given up for the cap."""
        kept = [trial for paths in self.study.trials() if (trial := self._kept(paths)) is not None]
        if self.keep_best is not None:
            gone = set(superfluous(kept, self.objectives, self.keep_best))
            self.remove(gone)
            kept = [trial for trial in kept if trial.number not in gone]
        return self._heed_cap(kept, paused) if self.cap else []

    def _heed_cap(self, kept: Iterable[Kept], paused: Mapping[int, Paused]) -> list[int]:
        """Those that failed go first, the oldest before the others, then the paused; what serves is the trial that runs and the best."""
        used = sum(size(paths.checkpoints) for paths in self.study.trials())
        for trial in sorted((trial for trial in kept if trial.state is TrialState.FAIL), key=lambda trial: trial.number):
            if used <= self.cap:
                break
            self.remove([trial.number])
            used -= trial.size
        given_up = []
        for number in least_promising(paused, self.objectives[0]):
            if used <= self.cap:
                break
            given_up.append(number)
            used -= size(self.study.trial(number).checkpoints)
        if used > self.cap and not self.full:
            self.say(
                f"checkpoints take {used / GIB:.3g} GiB, more than checkpoints.cap_gib={self.cap / GIB:g}, and none can be removed: "
                "trials that start from now on save none"
            )
        self.full = used > self.cap
        return given_up

    def _kept(self, paths: TrialPaths) -> Kept | None:
        if paths.number not in self._ended:
            result = records.read_if_there(paths.result, TrialResult)
            if result is None:
                return None  # it may still need them
            self._ended[paths.number] = result
        if not paths.checkpoints.exists():
            return None
        result = self._ended[paths.number]
        return Kept(number=paths.number, state=result.state, values=result.values, size=size(paths.checkpoints))

    def remove(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            shutil.rmtree(self.study.trial(number).checkpoints, ignore_errors=True)

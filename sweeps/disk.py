"""The room that a study's checkpoints take: those of pruned and beaten trials go at once, those of the best stay, a cap holds for all.

verl itself keeps a trial's last ones only (`trainer.max_actor_ckpt_to_keep`); it knows nothing of other trials.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harness import records
from harness.checkpoints import size
from harness.paths import StudyPaths, TrialPaths
from harness.types import Direction, Objective, TrialResult, TrialSpec, TrialState

GIB = 2**30


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """A trial that will not go on."""

    number: int
    state: TrialState
    values: tuple[float, ...] | None
    configuration: str  # empty where it has none of its own


@dataclass(frozen=True, kw_only=True, slots=True)
class Paused:
    """A trial that may go on from its checkpoint."""

    steps: int
    value: float | None  # the objective's, when it was seen last


def least_promising(paused: Mapping[int, Paused], objective: Objective) -> list[int]:
    """Those that came least far first, the weaker before the better."""
    sign = 1 if objective.direction is Direction.MAXIMIZE else -1
    return sorted(paused, key=lambda number: (paused[number].steps, sign * (paused[number].value or 0.0), number))


def superfluous(ended: Sequence[Ended], objectives: Sequence[Objective], keep_best: int) -> list[int]:
    """The pruned and the beaten: all that completed but the best trial of each of the `keep_best` best configurations.

    As in the study's result (harness/result.py) those with few seeds come behind those with many. With several objectives it is all that
    completed but those on the Pareto front.
    """
    complete = [trial for trial in ended if trial.state is TrialState.COMPLETE and trial.values is not None]
    if len(objectives) == 1:
        best = {trials[0].number for trials in _ranked(complete, objectives)[:keep_best]}
        beaten = [trial for trial in complete if trial.number not in best]
    else:
        beaten = [trial for trial in complete if any(_dominates(other, trial, objectives) for other in complete)]
    return sorted([trial.number for trial in ended if trial.state is TrialState.PRUNED] + [trial.number for trial in beaten])


def _ranked(complete: Iterable[Ended], objectives: Sequence[Objective]) -> list[list[Ended]]:
    """The trials of each configuration, the best one first, by their means."""
    groups: dict[str, list[Ended]] = {}
    for trial in sorted(complete, key=lambda trial: _costs(trial, objectives)):
        groups.setdefault(trial.configuration or f"trial {trial.number}", []).append(trial)
    most = max(map(len, groups.values()), default=0)

    def rank(trials: Sequence[Ended]) -> tuple[bool, float]:
        return 2 * len(trials) <= most, statistics.fmean(_costs(trial, objectives)[0] for trial in trials)

    return sorted(groups.values(), key=rank)


def _costs(trial: Ended, objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Less is better in each."""
    assert trial.values is not None
    signs = (-1 if objective.direction is Direction.MAXIMIZE else 1 for objective in objectives)
    return tuple(sign * value for sign, value in zip(signs, trial.values, strict=True))


def _dominates(one: Ended, other: Ended, objectives: Sequence[Objective]) -> bool:
    mine, theirs = _costs(one, objectives), _costs(other, objectives)
    return mine != theirs and all(a <= b for a, b in zip(mine, theirs, strict=True))


@dataclass(slots=True)
class CheckpointKeeper:
    """Keeps the checkpoints of one study in bounds."""

    study: StudyPaths
    objectives: tuple[Objective, ...]
    keep_best: int | None  # configurations; None: those of all trials
    cap: int  # bytes; 0: none
    say: Callable[[str], None]
    full: bool = False  # the cap is reached with nothing left to remove: trials that start now save none
    _ended: dict[int, Ended] = field(default_factory=dict)

    def tidy(self, paused: Mapping[int, Paused]) -> list[int]:
        """After a trial has ended or paused. Returns the paused ones that have to be given up for the cap."""
        ended = [trial for paths in self.study.trials() if (trial := self._if_ended(paths)) is not None]
        if self.keep_best is not None:
            self.remove(superfluous(ended, self.objectives, self.keep_best))
        return self._heed_cap(ended, paused) if self.cap else []

    def _heed_cap(self, ended: Iterable[Ended], paused: Mapping[int, Paused]) -> list[int]:
        """Those that failed go first, the oldest before the others, then the paused; what serves is the trial that runs and the best."""
        used = sum(size(paths.checkpoints) for paths in self.study.trials())
        for number in sorted(trial.number for trial in ended if trial.state is TrialState.FAIL):
            if used <= self.cap:
                break
            used -= size(self.study.trial(number).checkpoints)
            self.remove([number])
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

    def _if_ended(self, paths: TrialPaths) -> Ended | None:
        """None of one that may still need its checkpoints."""
        if paths.number not in self._ended and (result := records.read_if_there(paths.result, TrialResult)) is not None:
            spec = records.read_if_there(paths.spec, TrialSpec)
            configuration = spec.configuration if spec is not None else ""
            self._ended[paths.number] = Ended(number=paths.number, state=result.state, values=result.values, configuration=configuration)
        return self._ended.get(paths.number)

    def remove(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            if (checkpoints := self.study.trial(number).checkpoints).exists():
                shutil.rmtree(checkpoints, ignore_errors=True)

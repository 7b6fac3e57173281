"""What a study may cost beside its number of trials: GPU-hours, hours of a launch, trials that bring nothing; pure but for BudgetWatch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.errors import ConfigError
from harness.objective import better
from harness.status import StudyStatus
from harness.types import Role, TrialState
from harness.wording import duration

HOUR_S = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """0 switches a limit off."""

    gpu_hours: float  # of all trials of the study, their starts included
    wall_hours: float  # of one launch
    flat_trials: int  # complete ones in a row that are not better than the best before them
    flat_by: float  # by more than this, in the objective's unit


def read_budget(node: Mapping[str, Any], *, objectives: int) -> Budget:
    """Raises ConfigError."""
    unknown = sorted(node.keys() - set(Budget.__dataclass_fields__))
    if unknown:
        raise ConfigError(f"budget.{unknown[0]}: expected one of {', '.join(Budget.__dataclass_fields__)}")
    for name, value in node.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise ConfigError(f"budget.{name}: expected a number of 0 or more, got {value!r}")
    if not isinstance(node["flat_trials"], int):
        raise ConfigError(f"budget.flat_trials: expected a whole number, got {node['flat_trials']!r}")
    if node["flat_trials"] and objectives > 1:
        raise ConfigError("budget.flat_trials: with several objectives there is no best trial that could get no better; set it to 0")
    return Budget(**node)


def spent(budget: Budget, status: StudyStatus) -> str | None:
    """Why no more trials are started; those that run go on."""
    # Asked ten times a second: a limit that is off looks at no trial.
    gpu_hours = sum(trial.gpu_seconds for trial in status.trials) / HOUR_S if budget.gpu_hours else 0.0
    if budget.gpu_hours and gpu_hours >= budget.gpu_hours:
        return f"{gpu_hours:.2f} of {budget.gpu_hours:g} GPU-hours are spent (budget.gpu_hours)"
    return None


def flat(budget: Budget, status: StudyStatus) -> str | None:
    """Why no more configurations are started; what the plan still does with those that there are goes on."""
    since = _since_the_best(budget, status) if budget.flat_trials else 0
    if since and since >= budget.flat_trials:
        return f"the last {since} complete trials were not better than the best before them (budget.flat_trials)"
    return None


def over(budget: Budget, launched_s: float) -> str | None:
    """Why the running trials are stopped, with a checkpoint."""
    if budget.wall_hours and launched_s >= budget.wall_hours * HOUR_S:
        return f"this launch has run for {duration(launched_s)} of {budget.wall_hours:g} hours (budget.wall_hours)"
    return None


def _since_the_best(budget: Budget, status: StudyStatus) -> int:
    """Complete trials, in the order in which they ended, behind the last one that was clearly better than all before it.

    A replicate was not asked for to be better, and counts for nothing.
    """
    direction = status.record.objectives[0].direction
    ended = sorted(
        (trial.ended_at or 0.0, trial.values[0])
        for trial in status.trials
        if trial.state is TrialState.COMPLETE and trial.values and trial.role is Role.TUNING
    )
    best, count = None, 0
    for _, value in ended:
        if best is None or (better(value, best, direction) and abs(value - best) > budget.flat_by):
            best, count = value, 0
        else:
            count += 1
    return count


@dataclass(slots=True)
class BudgetWatch:
    """Asks at each look of the loop, and tells the user once."""

    budget: Budget
    status: Callable[[], StudyStatus | None]  # as it was seen last
    say: Callable[[str], None]
    reason: str = ""  # why the study ended before its last trial
    _began: float = field(default_factory=time.monotonic)
    _spent: bool = False
    _flat: bool = False
    _over: bool = False

    def is_spent(self) -> bool:
        status = self.status()
        if not self._spent and status is not None and (reason := spent(self.budget, status)):
            self._spent = True
            self._tell(reason, "no more trials are started, those that run go on")
        return self._spent

    def is_flat(self) -> bool:
        status = self.status()
        if not self._flat and status is not None and (reason := flat(self.budget, status)):
            self._flat = True
            self._tell(
                reason, "no more configurations are started; those that there are go on, and the best are confirmed where the plan does so"
            )
        return self._flat

    def is_over(self) -> bool:
        reason = over(self.budget, time.monotonic() - self._began)
        if reason and not self._over:
            self._over = True
            self._tell(reason, "the running trials stop at their next step, with a checkpoint; the same command goes on with them")
        return reason is not None

    def _tell(self, reason: str, what_follows: str) -> None:
        self.reason = reason
        self.say(f"{reason}: {what_follows}")

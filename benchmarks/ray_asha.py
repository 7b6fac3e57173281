"""Asynchronous successive halving as Ray Tune decides it, behind Optuna's interface: for comparison only, no study runs on it."""

from __future__ import annotations

from dataclasses import dataclass

import optuna
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler


@dataclass(frozen=True, slots=True)
class _Named:
    """All that the scheduler asks of a trial."""

    trial_id: str


class RayAshaPruner(BasePruner):
    """Its decisions are those of `ray.tune.schedulers.AsyncHyperBandScheduler`, told each report as Tune would. Serves one study."""

    def __init__(self, *, grace_period: int, reduction_factor: int, max_t: int) -> None:
        self._options = {"grace_period": grace_period, "reduction_factor": reduction_factor, "max_t": max_t}
        self._scheduler: AsyncHyperBandScheduler | None = None
        self._added: set[int] = set()

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        if self._scheduler is None:
            mode = "max" if study.direction == StudyDirection.MAXIMIZE else "min"
            self._scheduler = AsyncHyperBandScheduler(time_attr="step", metric="value", mode=mode, **self._options)
        named, step = _Named(str(trial.number)), trial.last_step
        if trial.number not in self._added:
            self._added.add(trial.number)
            self._scheduler.on_trial_add(None, named)
        result = {"step": step, "value": trial.intermediate_values[step]}
        return self._scheduler.on_trial_result(None, named, result) == TrialScheduler.STOP

"""Stops a trial whose optimistic end lies below the best one's pessimistic end; knows nothing but what the storage tells.

How a trial ends is forecast from the study's own complete trials (harness/forecast.py), so that none is stopped before some are complete.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import optuna
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from harness.forecast import Forecast, Whole, forecast, level

_MOST = 200  # complete trials that a forecast looks at, the latest ones: more make it slower and no narrower


def is_hopeless(reports: dict[int, float], running: Iterable[dict[int, float]], wholes: Sequence[Whole], *, coverage: float) -> bool:
    """Whether even the high end of a trial's forecast is below what is expected of the best other one at least; larger is better.

    Of the complete trials the best one's value is known. Of the running ones only that which stands highest is forecast.
    """
    mine = forecast(reports, wholes, coverage=coverage)
    return mine is not None and mine.high < _sure(running, wholes, coverage)


def _sure(running: Iterable[dict[int, float]], wholes: Sequence[Whole], coverage: float) -> float:
    best = max(whole.value for whole in wholes)
    leader = max((reports for reports in running if reports), key=lambda reports: level(reports, max(reports)), default=None)
    theirs: Forecast | None = forecast(leader, wholes, coverage=coverage) if leader else None
    return best if theirs is None else max(best, theirs.low)


class ForecastPruner(BasePruner):
    """`coverage`: of each interval, between 0 and 1; `min_resource`: steps during which each trial is left alone; `n_min_trials`: complete
    trials before it stops any. Raises ValueError for others.
    """

    def __init__(self, *, coverage: float, min_resource: int, n_min_trials: int) -> None:
        if not 0 < coverage < 1:
            raise ValueError(f"coverage: expected a number between 0 and 1, got {coverage!r}")
        for name, value in (("min_resource", min_resource), ("n_min_trials", n_min_trials)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name}: expected a whole number of at least 1, got {value!r}")
        self._coverage, self._min_resource, self._n_min_trials = coverage, min_resource, n_min_trials

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        if trial.last_step is None or trial.last_step < self._min_resource:
            return False
        sign = 1 if study.direction == StudyDirection.MAXIMIZE else -1
        complete = study.get_trials(deepcopy=False, states=(OptunaState.COMPLETE,))
        if len(complete) < self._n_min_trials:
            return False
        wholes = [Whole(reports=_upward(one, sign), value=sign * one.values[0]) for one in complete[-_MOST:]]
        running = study.get_trials(deepcopy=False, states=(OptunaState.RUNNING,))
        others = (_upward(other, sign) for other in running if other.number != trial.number)
        reports = _upward(trial, sign)
        if not reports:
            return True  # nothing but NaN
        return is_hopeless(reports, others, wholes, coverage=self._coverage)


def _upward(trial: FrozenTrial, sign: int) -> dict[int, float]:
    """Reports of which larger ones are better; step 0 is the untrained model, NaN says nothing."""
    return {step: sign * value for step, value in trial.intermediate_values.items() if step > 0 and not math.isnan(value)}

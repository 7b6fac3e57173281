"""The study that samplers see: each configuration is one trial, whatever its plan did with it.

- Its value is the mean over its seeds that came to their end: not a lucky one's.
- One that is paused, or was stopped by pruner or plan, is COMPLETE with a forecast of its end: some samplers (GP, CMA-ES) learn nothing of
  it otherwise, and those that do (TPE) take it for worse than any that was let go on. The forecast is the middle of harness/forecast.py's;
  before any trial is complete it is where the curve stands.
- One that runs and has not come to its first goal is RUNNING; one that failed is FAIL, one that verl would refuse is PRUNED, as they are.
- Reports are the means over seeds at the steps that all of these reported.

Asking is done here, so that whatever a sampler writes goes to the real study.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Container, Iterable, Sequence

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from harness.forecast import Whole, forecast, level
from harness.types import Role
from sweeps.plans.plan import Phase, Standing

_COVERAGE = 0.5  # of the interval, which nobody looks at
_MOST = 20  # complete trials that a forecast looks at, the latest: it is asked for each configuration at each proposal


class Configurations(optuna.Study):
    """A view of a study: what it is asked about trials, it answers about configurations."""

    def __init__(self, study: optuna.Study, standings: Callable[[], Sequence[Standing]]) -> None:
        # A pruner of brackets would show each of them as a study of its own, past this view.
        super().__init__(study.study_name, study._storage, sampler=study.sampler, pruner=optuna.pruners.NopPruner())
        self._standings = standings

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[OptunaState] | None = None,
        use_cache: bool = False,  # noqa: ARG002
    ) -> list[FrozenTrial]:
        """What Optuna's own readers call. Between two proposals nothing changes but the trial that is being made, so it is read once."""
        known = self._thread_local.cached_all_trials  # which ask() forgets
        if known is None:
            real = self._storage.get_all_trials(self._study_id, deepcopy=False)
            known = summarize(real, self._standings(), sign=1 if self.direction == StudyDirection.MAXIMIZE else -1)
            self._thread_local.cached_all_trials = known
        chosen = [trial for trial in known if states is None or trial.state in states]
        return copy.deepcopy(chosen) if deepcopy else chosen


def summarize(trials: Sequence[FrozenTrial], standings: Sequence[Standing], *, sign: int) -> list[FrozenTrial]:
    """One trial a configuration, in the place and under the number of its first. The storage's own are left as they are."""
    groups: dict[str, list[Standing]] = {}
    for standing in standings:
        if standing.phase is not Phase.VOID:
            groups.setdefault(standing.configuration, []).append(standing)
    wholes = [Whole(reports=one.reports, value=one.value) for one in standings if one.value is not None and one.reports][-_MOST:]
    return [_summary(trials[group[0].number], group, wholes, sign) for group in groups.values()]


def _summary(first: FrozenTrial, group: Sequence[Standing], wholes: Sequence[Whole], sign: int) -> FrozenTrial:
    shown = copy.copy(first)
    value = _value(first, group, wholes)
    if value is None or not math.isfinite(value):
        return shown
    shown.state, shown.values = OptunaState.COMPLETE, [sign * value]
    shown.datetime_complete = first.datetime_complete or first.datetime_start
    shown.intermediate_values = {step: sign * report for step, report in _mean_reports(group).items()}
    return shown


def _value(first: FrozenTrial, group: Sequence[Standing], wholes: Sequence[Whole]) -> float | None:
    """What a configuration is worth as far as is known, larger better; None where too little is."""
    complete = [standing.value for standing in group if standing.value is not None]
    if complete:
        return math.fsum(complete) / len(complete)
    lead = group[0]
    if not lead.reports or first.state is OptunaState.FAIL or (lead.phase is Phase.RUNNING and not lead.went_on):
        return None
    foreseen = forecast(lead.reports, wholes, coverage=_COVERAGE) if wholes else None
    return foreseen.value if foreseen is not None else level(lead.reports, lead.steps)


def _mean_reports(group: Iterable[Standing]) -> dict[int, float]:
    curves = [standing.reports for standing in group if standing.role is Role.TUNING or standing.value is not None]
    common = [step for step in curves[0] if all(step in curve for curve in curves)]
    return {step: math.fsum(curve[step] for curve in curves) / len(curves) for step in common}

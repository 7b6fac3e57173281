"""Holds a sampler to what was recorded: it proposes as in any study, and the nearest configuration that was not tried is taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from sweeps.replay.space import RecordedSpace


class RecordedSampler(BaseSampler):
    """`inner` proposes. What it remembers of a trial is the recorded configuration, for the storage holds that and not the proposal.

    Random sampling takes the recorded configurations in a random order instead: the nearest to a random point would be, more often than
    others, one that lies alone. Where all were tried, the nearest is tried again.
    """

    def __init__(self, inner: BaseSampler, space: RecordedSpace, *, order: Sequence[int]) -> None:
        self.inner, self._space, self._order = inner, space, order

    def reseed_rng(self) -> None:
        self.inner.reseed_rng()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002 (Optuna's)
        return dict(self._space.distributions)

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],  # noqa: ARG002
    ) -> dict[str, Any]:
        tried = {self._space.index(other.params) for other in study.get_trials(deepcopy=False) if other.params}
        left = [index for index in self._order if index not in tried] or list(self._order)
        if type(self.inner) is RandomSampler:
            return self._space.points[left[0]]
        return self._space.points[self._space.nearest(self._proposal(study, trial), left)]

    def _proposal(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        joint = self.inner.infer_relative_search_space(study, trial)
        point = dict(self.inner.sample_relative(study, trial, joint))
        alone = {name: kind for name, kind in self._space.distributions.items() if name not in point}
        return point | {name: self.inner.sample_independent(study, trial, name, kind) for name, kind in alone.items()}

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: Any) -> Any:  # noqa: ARG002
        raise AssertionError(f"{param_name} belongs to the configuration that was proposed whole")

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self.inner.before_trial(study, trial)

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self.inner.after_trial(study, trial, state, values)

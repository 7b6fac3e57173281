"""Proposes the point of which most is hoped, by how trials stood at the highest step that most of them have reached; learns from all.

Made for studies whose trials are stopped or paused on the way: one of ten seldom comes to its end, but all were seen at the first rung. It
knows nothing but what the storage tells. Refuses studies of several objectives.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import intersection_search_space
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from sweeps.samplers.encoding import encode, value_at
from sweeps.samplers.gaussian_process import Array, Surface, normal_scores

LEAST_SEEN = 5  # values of which a surface can be made
_LEFT_BEHIND = 1 / 3  # of the trials need not have reached the step at which all are compared


class SurrogateSampler(BaseSampler):
    """`startup`: random trials before it learns, as a share of `n_trials`, and `least_startup` of them at least; `courage`: standard
    deviations that uncertainty is worth; `draws`: random points among which it chooses; `candidates`: the points among which it chooses
    instead, each once, where a study has no others. Raises ValueError for numbers that make no sense.
    """

    def __init__(
        self,
        *,
        seed: int | None,
        n_trials: int,
        startup: float,
        least_startup: int,
        courage: float,
        draws: int,
        candidates: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        if not (0 <= startup <= 1 and least_startup >= 0 and courage >= 0 and draws >= 1):
            raise ValueError("startup: expected a share from 0 to 1; least_startup, courage: 0 or more; draws: 1 or more")
        self._startup = max(least_startup, round(startup * n_trials))
        self._courage, self._draws, self._candidates = courage, draws, candidates
        self._random, self._rng = RandomSampler(seed=seed), np.random.default_rng(seed)
        self._chosen: tuple[int, Mapping[str, Any]] | None = None  # trial, the candidate that it gets

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        others = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        if self._candidates is not None or len(others) < self._startup:
            return {}
        space = intersection_search_space(others, include_pruned=True)
        return {name: distribution for name, distribution in space.items() if not distribution.single()}

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        if not search_space:
            return {}
        others = _others(study, trial)
        points = _untried(self._points(search_space), others, search_space)
        return dict(self._best(study, others, points, search_space) or {})

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        if self._candidates is None:
            return self._random.sample_independent(study, trial, param_name, param_distribution)
        if self._chosen is None or self._chosen[0] != trial.number:
            self._chosen = (trial.number, self._candidate(study, trial))
        return self._chosen[1][param_name]

    def _candidate(self, study: optuna.Study, trial: FrozenTrial) -> Mapping[str, Any]:
        """One that was not tried, while there is one."""
        assert self._candidates
        others = _others(study, trial)
        left = _untried(self._candidates, others, self._candidates[0]) or list(self._candidates)
        if len(others) >= self._startup:
            best = self._best(study, others, left, intersection_search_space(others, include_pruned=True))
            if best is not None:
                return best
        return left[int(self._rng.integers(len(left)))]

    def _best(
        self, study: optuna.Study, others: Sequence[FrozenTrial], points: Sequence[Mapping[str, Any]], space: Mapping[str, BaseDistribution]
    ) -> Mapping[str, Any] | None:
        """None where too little was seen to tell."""
        sign = 1 if study.direction == StudyDirection.MAXIMIZE else -1
        seen, pending = split(others, sign)
        if len(seen) < LEAST_SEEN or not points or not space:
            return None
        surface = Surface(_rows([other.params for other, _ in seen], space), normal_scores([value for _, value in seen]))
        hopes = surface.hope(_rows(points, space), _rows([other.params for other in pending], space), courage=self._courage)
        return points[int(np.argmax(hopes))]

    def _points(self, space: Mapping[str, BaseDistribution]) -> list[dict[str, Any]]:
        drawn = self._rng.random((self._draws, len(space)))
        return [
            {name: value_at(share, distribution) for (name, distribution), share in zip(space.items(), row, strict=True)} for row in drawn
        ]


def split(trials: Sequence[FrozenTrial], sign: int) -> tuple[list[tuple[FrozenTrial, float]], list[FrozenTrial]]:
    """Those that were seen, each with its value at the step at which all are compared, larger better; those that are on their way there.

    Who ended before that step, or with nothing but NaN, stands below all others.
    """
    curves = {trial.number: _curve(trial, sign) for trial in trials}
    reached = sorted(max(curve) for trial in trials if (curve := curves[trial.number]) and trial.state is not OptunaState.RUNNING)
    running = [max(curve) for trial in trials if (curve := curves[trial.number]) and trial.state is OptunaState.RUNNING]
    step = reached[math.floor(_LEFT_BEHIND * len(reached))] if reached else max(running, default=0)
    seen, pending = [], []
    for trial in trials:
        steps = [at for at in curves[trial.number] if at >= step]
        if steps:
            seen.append((trial, curves[trial.number][min(steps)]))
        elif trial.state is OptunaState.RUNNING:
            pending.append(trial)
        else:
            seen.append((trial, -math.inf))
    return seen, pending


def _curve(trial: FrozenTrial, sign: int) -> dict[int, float]:
    """By step; one who only told how it ended has one point."""
    reports = {step: -math.inf if math.isnan(value) else sign * value for step, value in trial.intermediate_values.items() if step > 0}
    if not reports and trial.state is OptunaState.COMPLETE and trial.values is not None:
        return {1: sign * trial.values[0]}
    return reports


def _others(study: optuna.Study, trial: FrozenTrial) -> list[FrozenTrial]:
    return [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]


def _rows(points: Sequence[Mapping[str, Any]], space: Mapping[str, BaseDistribution]) -> Array:
    return np.array([encode(point, space) for point in points], dtype=float)


def _untried(points: Iterable[Mapping[str, Any]], others: Sequence[FrozenTrial], names: Iterable[str]) -> list[Mapping[str, Any]]:
    known = tuple(names)
    tried = {tuple(other.params.get(name) for name in known) for other in others}
    return [point for point in points if tuple(point[name] for name in known) not in tried]

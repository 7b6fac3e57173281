"""Hyperband over asynchronous successive halving: brackets from hasty to patient, a trial's given by its number.

Li et al., arXiv 1603.06560. Bracket b's first rung lies at `min_resource * reduction_factor**b` steps, tokens or GPU-seconds; its trials
compete with one another and with no others. A bracket's share of the trials, and the hash that deals them out, are those of
optuna.pruners.HyperbandPruner.
"""

from __future__ import annotations

import binascii
import functools
import math
from itertools import accumulate

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial

from harness.expense import Resource
from sweeps.pruners.asha import AshaPruner, Smoothing


def bracket_of(study_name: str, number: int, *, brackets: int, reduction_factor: int) -> int:
    """The bracket of a trial: the same for every controller, and whatever the other trials do."""
    ends = _ends(brackets, reduction_factor)
    place = binascii.crc32(f"{study_name}_{number}".encode()) % ends[-1]
    return next(bracket for bracket, end in enumerate(ends) if place < end)


@functools.lru_cache
def _ends(brackets: int, reduction_factor: int) -> tuple[int, ...]:
    """Where each bracket's share ends, of n of algorithm 1: a hasty bracket stops most of its trials early, and is dealt more of them."""
    left = range(brackets - 1, -1, -1)
    return tuple(accumulate(math.ceil(brackets * int(reduction_factor**more) / (more + 1)) for more in left))


class AshaHyperbandPruner(BasePruner):
    """`brackets` ladders. Where they run one trial at a time, with `window=1` and `n_min_trials=1`, it decides as
    optuna.pruners.HyperbandPruner does with that many brackets, with the exceptions that AshaPruner names.

    Optuna's own chooses their number by `max_resource`, and shows its samplers the trials of one bracket only; these see all.
    Raises ValueError for numbers that make no ladder.
    """

    def __init__(
        self,
        *,
        min_resource: int,
        reduction_factor: int,
        brackets: int,
        n_min_trials: int = 1,
        window: int = 1,
        smoothing: str = Smoothing.MEDIAN,
        resource: str = Resource.STEPS,
    ) -> None:
        if not isinstance(brackets, int) or isinstance(brackets, bool) or brackets < 1:
            raise ValueError(f"brackets: expected a whole number of at least 1, got {brackets!r}")
        self._reduction_factor = reduction_factor
        self._brackets = [
            AshaPruner(
                min_resource=min_resource * reduction_factor**bracket,
                reduction_factor=reduction_factor,
                n_min_trials=n_min_trials,
                window=window,
                smoothing=smoothing,
                resource=resource,
            )
            for bracket in range(brackets)
        ]

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        mine = self._bracket(study, trial)
        peers = (other for other in study.get_trials(deepcopy=False) if self._bracket(study, other) == mine)
        return self._brackets[mine].judge(study, trial, peers)

    def _bracket(self, study: optuna.Study, trial: FrozenTrial) -> int:
        return bracket_of(study.study_name, trial.number, brackets=len(self._brackets), reduction_factor=self._reduction_factor)

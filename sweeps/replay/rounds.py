"""Successive halving in rounds that wait for the last one: a reference for replays, too slow for studies on real slots.

Jamieson and Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter Optimization, AISTATS 2016, algorithm 1, and more seeds
for its best at the end.
"""

from __future__ import annotations

from collections.abc import Sequence

from sweeps.plans.confirming import Round, stage
from sweeps.plans.plan import BasePlan, Decision, Explore, Overview, Phase, Resume, Standing, Terms


class HalvingInRounds(BasePlan):
    """`configurations` are begun and `finalists` have `seeds` in the end, both for each full run of the budget; at each of `rungs`, shares
    of a full run, the best one of `reduction_factor` goes on; without rungs all train to their ends. What the budget does not pay for is
    left out from the end.
    """

    pauses = True

    def __init__(
        self,
        *,
        configurations: float,
        rungs: Sequence[float],
        reduction_factor: int,
        finalists: float,
        seeds: int,
        restore_cost: float,
    ) -> None:
        self._configurations, self._rungs, self._factor = configurations, tuple(rungs), reduction_factor
        self._finalists, self._seeds, self.restore_cost = finalists, seeds, restore_cost

    def first_goal(self, terms: Terms) -> int | None:
        return next(iter(self._steps(terms)), None)

    def next(self, overview: Overview) -> Decision | None:
        tuning, terms = overview.tuning, overview.terms
        if len(tuning) < round(self._configurations * terms.budget) and overview.has_new:
            return Explore() if self._pays(overview, next(iter(self._rungs), 1.0)) else None
        steps = self._steps(terms)
        for step, goal in zip(steps, [*steps[1:], None], strict=False):
            if any(standing.phase is Phase.RUNNING for standing in tuning):
                return None
            tuning = _best(tuning, step)[: len(tuning) // self._factor]
            for standing in tuning:
                if standing.phase is Phase.PAUSED and standing.steps == step:
                    more = ((goal or terms.total_steps) - step) / terms.total_steps + self.restore_cost
                    return Resume(number=standing.number, goal=goal) if self._pays(overview, more) else None
        if any(standing.phase is Phase.RUNNING for standing in tuning):
            return None
        return next(iter(self._confirmed(overview)[0]), None)

    def best(self, overview: Overview) -> int | None:
        ranked = self._confirmed(overview)[1]
        return ranked[0].number if ranked else None

    def _confirmed(self, overview: Overview) -> tuple[Sequence[Decision], Sequence[Standing]]:
        last = Round(configurations=max(2, round(self._finalists * overview.terms.budget)), seeds=self._seeds)
        found = stage([last], overview, left=self.left(overview), curve_weight=0.0)
        return found.missing, found.ranked

    def _steps(self, terms: Terms) -> list[int]:
        return [max(1, round(rung * terms.total_steps)) for rung in self._rungs]

    def _pays(self, overview: Overview, price: float) -> bool:
        return price <= self.left(overview) + 1e-9


def _best(standings: Sequence[Standing], step: int) -> list[Standing]:
    """Of those that came to a step, the best first."""
    there = [(value, standing) for standing in standings if (value := standing.at(step)) is not None]
    return [standing for _, standing in sorted(there, key=lambda one: (-one[0], one[1].number))]

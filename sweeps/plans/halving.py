"""Many configurations a little, the better ones further, the best ones with more seeds: the plan for studies of verl.

1. Explore, with one seed. A trial pauses at each rung, and goes on while it is among the best of all that have come to that rung, however
   they ended: asynchronous successive halving by promotion (Li et al., arXiv 1810.05934), which mistakes nobody for weak for having come
   first. Those on a higher rung go first, then the better ones; only when none is to go on does a new configuration start.
2. Confirm: the best of those that were trained to their end get seeds that chose nothing, in rounds (sweeps/plans/confirming.py).

The numbers in the yaml were chosen over recorded curves of RL: docs/seeds.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweeps.plans.confirming import Round, Stage, stage
from sweeps.plans.plan import BasePlan, Decision, Explore, Overview, Phase, Resume, Standing, Terms

_LEAST_FINALISTS = 2  # one alone confirms nothing


@dataclass(frozen=True, slots=True)
class _Rung:
    step: int
    keep: float
    goal: int | None  # of those that go on from it


class Halving(BasePlan):
    """`rungs`: shares of a full run at which trials pause; `keep`: the best share of each that goes on; `explore`: share of the budget for
    all that; `configurations`: started at most, for each full run of the budget; `confirm`: rounds of [share of the budget as a number of
    configurations, seeds of each]; `curve_weight`: of a curve's mean beside its end. Raises ValueError for numbers that make no such plan.
    """

    def __init__(
        self,
        *,
        rungs: Sequence[float],
        keep: Sequence[float],
        explore: float,
        configurations: float,
        confirm: Sequence[Sequence[float]],
        curve_weight: float,
        pause: bool,
        restore_cost: float,
    ) -> None:
        if len(rungs) != len(keep) or not all(0 < low < high <= 1 for low, high in zip(rungs, [*rungs[1:], 1.0], strict=True)):
            raise ValueError(f"rungs: expected ascending shares between 0 and 1 and as many of keep, got {list(rungs)} and {list(keep)}")
        if not all(0 < share <= 1 for share in (*keep, explore)):
            raise ValueError(f"keep, explore: expected shares above 0 and up to 1, got {list(keep)} and {explore!r}")
        if not configurations > 0 or restore_cost < 0 or curve_weight < 0:
            raise ValueError("configurations, restore_cost, curve_weight: expected numbers of 0 or more, configurations more")
        self._rungs, self._keep, self._explore, self._configurations = tuple(rungs), tuple(keep), explore, configurations
        self._confirm = tuple((float(share), int(seeds)) for share, seeds in confirm)
        self._curve_weight, self.pauses, self.restore_cost = curve_weight, pause, restore_cost

    def first_goal(self, terms: Terms) -> int | None:
        return next((rung.step for rung in self._ladder(terms)), None)

    def next(self, overview: Overview) -> Decision | None:
        exploring = self._exploring(overview)
        if exploring is not None or self._still_explores(overview):
            return exploring
        return next(iter(self._stage(overview).missing), None)

    def hopeless(self, overview: Overview) -> Mapping[int, str]:
        tuning, terms = overview.tuning, overview.terms
        paused = [standing for standing in tuning if standing.phase is Phase.PAUSED]
        over = bool(paused) and self._exploring(overview) is None and not self._still_explores(overview)
        if over:
            return {standing.number: f"{_where(standing)}, and the study had nothing left to go on with it" for standing in paused}
        return {
            standing.number: f"{_where(standing)}, and can no longer come among the best there"
            for standing in paused
            if self._is_beaten(standing, tuning, terms)
        }

    def best(self, overview: Overview) -> int | None:
        ranked = self._stage(overview).ranked
        return ranked[0].number if ranked else None

    def refusal(self, terms: Terms) -> str | None:
        least = 2 if terms.default is None else 3
        if terms.budget >= least:
            return None
        few = "one full run leaves" if terms.budget == 1 else f"beside the default {terms.budget:g} full runs leave"
        return f"{few} nothing to choose from; {least} is the least for hydra/sweeper/plan=halving"

    # --- exploring -----------------------------------------------------------------------------------------------------------------

    def _exploring(self, overview: Overview) -> Decision | None:
        """One that goes on is waited for where what is left does not pay for it: nobody weaker is started in its stead.

        Until one beside the default is on its way to the end, what that costs is set aside; and when nothing else is left, the one that
        came farthest goes.
        """
        terms, tuning = overview.terms, overview.tuning
        left = min(self._purse(overview) - self.spent(tuning, terms), self.left(overview)) + 1e-9
        secured = any(
            standing.configuration != terms.default_configuration
            and (standing.phase is Phase.COMPLETE or (standing.phase is Phase.RUNNING and standing.goal is None))
            for standing in tuning
        )
        found = self._promotable(tuning, terms)
        if found is not None:
            return self._resume(*found, terms, left=left, finish=not secured)
        runs = any(standing.phase is Phase.RUNNING for standing in tuning)
        started = sum(standing.phase is not Phase.REFUSED for standing in tuning)
        first = self.first_goal(terms)
        begin, finish = self._price(0, first, terms), self._price(first, None, terms)
        price = 1 + (0 if secured else begin + finish) if overview.lacks_default else begin + (0 if secured else finish)
        if (started < self._most(terms) or not runs) and overview.has_new and price <= left:
            return Explore()
        leader = None if secured or runs else self._leader(tuning, terms)
        return self._resume(*leader, terms, left=left, finish=True) if leader is not None else None

    def _resume(self, standing: Standing, rung: _Rung, terms: Terms, *, left: float, finish: bool) -> Resume | None:
        """`finish`: only where its way to the end can be paid, too."""
        price = self._price(standing.steps, rung.goal, terms) + (self._price(rung.goal, None, terms) if finish and rung.goal else 0)
        return Resume(number=standing.number, goal=rung.goal) if price <= left else None

    def _price(self, start: int | None, goal: int | None, terms: Terms) -> float:
        """In full runs, from step to step (None: the end), with the restores on the way."""
        begin, end = terms.total_steps if start is None else start, terms.total_steps if goal is None else goal
        restores = (begin > 0) + sum(begin < rung.step < end for rung in self._ladder(terms))
        return (end - begin) / terms.total_steps + self.restore_cost * restores

    def _still_explores(self, overview: Overview) -> bool:
        return any(standing.phase is Phase.RUNNING for standing in overview.tuning)

    def _promotable(self, tuning: Sequence[Standing], terms: Terms) -> tuple[Standing, _Rung] | None:
        for rung in reversed(self._ladder(terms)):
            there = _ranked_at(rung.step, tuning)
            places = math.floor(rung.keep * len(there) + 1e-9)
            for standing in there[: places if self.pauses else max(1, places)]:
                if standing.phase is Phase.PAUSED and self._rung_of(standing, terms) == rung:
                    return standing, rung
        return None

    def _leader(self, tuning: Sequence[Standing], terms: Terms) -> tuple[Standing, _Rung] | None:
        """The best of those that are paused on the highest rung."""
        for rung in reversed(self._ladder(terms)):
            for standing in _ranked_at(rung.step, tuning):
                if standing.phase is Phase.PAUSED:
                    return standing, self._rung_of(standing, terms)
        return None

    def _is_beaten(self, standing: Standing, tuning: Sequence[Standing], terms: Terms) -> bool:
        """Whether so many were better at its rung that it would not be among the best, however many weaker ones were yet to come."""
        rung = self._rung_of(standing, terms)
        there = _ranked_at(rung.step, tuning)
        return there.index(standing) >= math.floor(rung.keep * max(self._most(terms), len(there)) + 1e-9)

    def _rung_of(self, standing: Standing, terms: Terms) -> _Rung:
        """The highest that a paused trial has come to."""
        return [rung for rung in self._ladder(terms) if rung.step <= standing.steps][-1]

    def _ladder(self, terms: Terms) -> list[_Rung]:
        """In steps; rungs that fall together in a short training are one."""
        steps: dict[int, float] = {}
        for share, keep in zip(self._rungs, self._keep, strict=True):
            steps[max(1, math.floor(share * terms.total_steps + 1e-9))] = keep
        rungs = [(step, keep) for step, keep in steps.items() if step < terms.total_steps]
        goals = [step for step, _ in rungs[1:]]
        return [_Rung(step, keep, goal) for (step, keep), goal in zip(rungs, [*goals, None], strict=True)] if rungs else []

    def _most(self, terms: Terms) -> float:
        return self._configurations * terms.budget

    def _purse(self, overview: Overview) -> float:
        """Without two that could be compared, or where the rest would not pay for a comparison, all of the budget is explored."""
        terms = overview.terms
        share = self._explore * terms.budget
        left = terms.budget - max(share, self.spent(overview.tuning, terms))
        finalists = sum(standing.phase is Phase.COMPLETE for standing in overview.tuning)
        confirms = bool(self._confirm) and terms.most_seeds != 1 and left + 1e-9 >= _LEAST_FINALISTS and finalists >= _LEAST_FINALISTS
        return share if confirms else terms.budget

    # --- confirming ----------------------------------------------------------------------------------------------------------------

    def _stage(self, overview: Overview) -> Stage:
        terms = overview.terms
        rounds = [Round(configurations=max(_LEAST_FINALISTS, round(share * terms.budget)), seeds=seeds) for share, seeds in self._confirm]
        return stage(rounds, overview, left=self.left(overview), curve_weight=self._curve_weight)


def _ranked_at(step: int, tuning: Sequence[Standing]) -> list[Standing]:
    """All that have come there, the best first; of equal ones those that were let go on, then those that wait, then those that ended."""

    def place(value: float, standing: Standing) -> tuple[float, int, int]:
        beyond = standing.goal is None or standing.goal > step
        return -value, 0 if beyond else 1 if standing.phase is Phase.PAUSED else 2, standing.number

    values = [(value, standing) for standing in tuning if (value := standing.at(step)) is not None]
    return [standing for _, standing in sorted(values, key=lambda one: place(*one))]


def _where(standing: Standing) -> str:
    return f"paused at step {standing.steps}"

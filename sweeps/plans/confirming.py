"""Who is tried with more seeds, round by round: the best of the round before, all with the same seeds, as far as the budget reaches; pure.

Successive rejects on the means of paired seeds (Audibert et al., Best arm identification in multi-armed bandits, COLT 2010): each round
spends on fewer configurations what it learns about which of them is the best.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.types import Role
from sweeps.plans.plan import Overview, Phase, Replicate, Standing, Terms


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """So many of the best have so many seeds in all at its end, that of tuning included."""

    configurations: int
    seeds: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """How far the rounds have come."""

    missing: tuple[Replicate, ...]  # of the present round, in the order in which they start
    is_over: bool  # all that the budget pays for has been told
    ranked: tuple[Standing, ...]  # the first trials of those that are in it, the best first


def firsts(standings: Sequence[Standing]) -> list[Standing]:
    """The COMPLETE first trials, one a configuration."""
    found: dict[str, Standing] = {}
    for standing in standings:
        if standing.role is Role.TUNING and standing.phase is Phase.COMPLETE:
            found.setdefault(standing.configuration, standing)
    return list(found.values())


def stage(rounds: Sequence[Round], overview: Overview, *, budget: float, curve_weight: float) -> Stage:
    """`budget`: full runs that all rounds may take together; a replicate counts as one, however it ends."""
    terms, seeds = overview.terms, 1
    tried = {(standing.configuration, standing.seed): standing for standing in overview.standings}
    score = _Scores(overview.standings, terms, curve_weight)
    ranked = score.ranked(firsts(overview.standings), seeds)
    for wanted in rounds:
        ranked = ranked[: wanted.configurations]
        more = min(wanted.seeds, terms.most_seeds or wanted.seeds) - seeds
        if more < 1:
            continue
        places = min(len(ranked), math.floor(budget / more + 1e-9))
        if places < 2:  # what is left pays for one more seed at most, and only a comparison is worth it
            more, places = 1, 2
        if len(ranked) < 2 or budget + 1e-9 < places * more:
            break
        ranked = ranked[:places]
        budget -= places * more
        pairs = [(one, _seed(terms, index)) for index in range(seeds, seeds + more) for one in ranked]
        missing = [
            Replicate(of=one.number, seed=seed, role=Role.CONFIRMATION) for one, seed in pairs if (one.configuration, seed) not in tried
        ]
        is_open = any(tried[one.configuration, seed].is_open for one, seed in pairs if (one.configuration, seed) in tried)
        if missing or is_open:
            return Stage(missing=tuple(missing), is_over=False, ranked=tuple(ranked))
        seeds += more
        ranked = score.ranked(ranked, seeds)
    return Stage(missing=(), is_over=True, ranked=tuple(ranked))


def _seed(terms: Terms, index: int) -> int:
    """Of a configuration's seeds the first is that of tuning."""
    return terms.confirmation_seed(index - 1) if index else terms.tuning_seed(0)


class _Scores:
    """The mean over a configuration's first seeds of what it ended with, and a little of how it came there: that breaks ties of ends alike.

    A replicate that did not come to its end counts as the worst end of any that did.
    """

    def __init__(self, standings: Sequence[Standing], terms: Terms, curve_weight: float) -> None:
        self._terms, self._curve_weight = terms, curve_weight
        self._scores: Mapping[tuple[str, int], float] = {
            (standing.configuration, standing.seed): self._of(standing) for standing in standings if standing.phase is Phase.COMPLETE
        }
        self._worst = min(self._scores.values(), default=0.0)

    def ranked(self, some: Sequence[Standing], seeds: int) -> list[Standing]:
        return sorted(some, key=lambda first: (-self._mean(first.configuration, seeds), first.number))

    def _of(self, standing: Standing) -> float:
        assert standing.value is not None
        curve = list(standing.reports.values()) or [standing.value]
        return standing.value + self._curve_weight * sum(curve) / len(curve)

    def _mean(self, configuration: str, seeds: int) -> float:
        return sum(self._scores.get((configuration, _seed(self._terms, index)), self._worst) for index in range(seeds)) / seeds

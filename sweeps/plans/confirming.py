"""Who is tried with more seeds, round by round: the best of the round before, all with the same seeds, as far as the budget reaches; pure.

Successive rejects on the means of paired seeds (Audibert et al., Best arm identification in multi-armed bandits, COLT 2010): each round
spends on fewer configurations what it learns about which of them is the best.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.types import Role
from sweeps.plans.plan import Overview, Replicate, Standing, Terms
from sweeps.plans.replicating import lacking
from sweeps.plans.scores import Scores, contenders


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """So many of the best have so many seeds in all at its end, that of tuning included."""

    configurations: int
    seeds: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """How far the rounds have come."""

    missing: tuple[Replicate, ...]  # of the present round, in the order in which they start
    ranked: tuple[Standing, ...]  # the first trials of those that are in it, the best first


def stage(rounds: Sequence[Round], overview: Overview, *, budget: float, curve_weight: float) -> Stage:
    """`budget`: full runs that all rounds may take together; a replicate counts as one, however it ends."""
    terms, seeds = overview.terms, 1
    scores = Scores(overview.standings, curve_weight=curve_weight)
    ranked = scores.ranked(contenders(overview.standings), seeds_of(terms, seeds))
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
        ranked, budget = ranked[:places], budget - places * more
        left = lacking(ranked, seeds_of(terms, seeds + more)[seeds:], overview.standings, role=Role.CONFIRMATION)
        if not left.is_nothing:
            return Stage(missing=left.missing, ranked=tuple(ranked))
        seeds += more
        ranked = scores.ranked(ranked, seeds_of(terms, seeds))
    return Stage(missing=(), ranked=tuple(ranked))


def seeds_of(terms: Terms, count: int) -> list[int]:
    """A configuration's first so many seeds: that of tuning, then those that chose nothing."""
    return [terms.tuning_seed(0), *(terms.confirmation_seed(index) for index in range(count - 1))]

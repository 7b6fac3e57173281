"""Who is tried with more seeds, round by round: the best of the round before, all with the same seeds, as far as the budget reaches; pure.

Successive rejects on the means of paired seeds (Audibert et al., Best arm identification in multi-armed bandits, COLT 2010): each round
spends on fewer configurations what it learns about which of them is the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.types import Role
from sweeps.plans.plan import Overview, Replicate, Standing, Terms
from sweeps.plans.replicating import affordable
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


def stage(rounds: Sequence[Round], overview: Overview, *, left: float, curve_weight: float) -> Stage:
    """`left`: full runs that no trial has spent or was promised; each replicate that is still missing takes one of them."""
    terms, count = overview.terms, 1
    scores = Scores(overview.standings, curve_weight=curve_weight)
    ranked = scores.ranked(contenders(overview.standings), seeds_of(terms, count))
    for wanted in rounds:
        more = min(wanted.seeds, terms.most_seeds or wanted.seeds) - count
        if more < 1:
            ranked = ranked[: wanted.configurations]
            continue
        for seeds in (more, 1):  # where that is too dear, one more seed: only a comparison is worth it
            need = affordable(
                ranked[: wanted.configurations],
                seeds_of(terms, count + seeds)[count:],
                overview.standings,
                left=left,
                role=Role.CONFIRMATION,
                kept=overview.default,
            )
            if need is not None:
                break
        else:
            break
        ranked, lacks = need
        if not lacks.is_nothing:
            return Stage(missing=lacks.missing, ranked=tuple(ranked))
        count += seeds
        ranked = scores.ranked(ranked, seeds_of(terms, count))
    return Stage(missing=(), ranked=tuple(ranked))


def seeds_of(terms: Terms, count: int) -> list[int]:
    """A configuration's first so many seeds: that of tuning, then those that chose nothing."""
    return [terms.tuning_seed(0), *(terms.confirmation_seed(index) for index in range(count - 1))]

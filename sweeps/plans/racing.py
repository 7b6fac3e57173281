"""More seeds for contenders only: after each seed whoever is surely worse than the best one drops out.

A race (Birattari et al., GECCO 2002; Lopez-Ibanez et al., irace, 2016) whose instances are seeds. All that are in it are tried with the
same seed before the next one, so that differences are paired: what a seed does to all of them alike cancels. Who is in front is the
incumbent; another one drops out when the lower end of the one-sided interval of how far it lies behind, by Student's t, is above 0.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from harness.types import Role
from sweeps.plans.plan import BasePlan, Decision, Explore, Overview, Phase, Replicate, Standing
from sweeps.plans.replicating import affordable
from sweeps.plans.scores import Scores, contenders


class Racing(BasePlan):
    """`explore`: share of the budget for tuning with one seed; `contenders`: so many of the best race; `seeds`: of each at most;
    `confidence`: with which one drops out. Raises ValueError for numbers that make no race.
    """

    def __init__(self, *, explore: float, contenders: int, seeds: int, confidence: float) -> None:
        if not (0 < explore < 1 and 0.5 < confidence < 1):
            raise ValueError(f"explore, confidence: expected shares, confidence above 0.5, got {explore!r} and {confidence!r}")
        if contenders < 2 or seeds < 2:
            raise ValueError(f"contenders, seeds: expected whole numbers of at least 2, got {contenders!r} and {seeds!r}")
        self._explore, self._contenders, self._seeds, self._confidence = explore, contenders, seeds, confidence

    def next(self, overview: Overview) -> Decision | None:
        terms = overview.terms
        if overview.has_new and self.spent(overview.tuning, terms) + 1 <= self._explore * terms.budget + 1e-9 and self.left(overview) >= 1:
            return Explore()
        if any(standing.phase is Phase.RUNNING for standing in overview.tuning):
            return None
        missing, _ = self._race(overview)
        return missing[0] if missing else None

    def best(self, overview: Overview) -> int | None:
        _, ranked = self._race(overview)
        return ranked[0].number if ranked else None

    def _race(self, overview: Overview) -> tuple[Sequence[Replicate], Sequence[Standing]]:
        """What the present seed still needs, and who is in the race, the best first."""
        terms, left = overview.terms, self.left(overview)
        scores, seeds = Scores(overview.standings), [terms.tuning_seed(0)]
        field = scores.ranked(contenders(overview.standings), seeds)[: self._contenders]
        while len(field) > 1 and len(seeds) < min(self._seeds, terms.most_seeds or self._seeds):
            next_seed, kept = [terms.tuning_seed(len(seeds))], overview.default
            found = affordable(field, next_seed, overview.standings, left=left, role=Role.REPLICATE, kept=kept)
            if found is None:
                break
            field, lacks = found
            if not lacks.is_nothing:
                return lacks.missing, field
            seeds.append(terms.tuning_seed(len(seeds)))
            field = scores.ranked(field, seeds)
            best = scores.each(field[0].configuration, seeds)
            field = [one for one in field if not is_worse(scores.each(one.configuration, seeds), best, confidence=self._confidence)]
        return (), field


def is_worse(values: Sequence[float], incumbents: Sequence[float], *, confidence: float) -> bool:
    """Whether the mean paired difference is above 0 with that confidence; of fewer than two pairs nothing is known."""
    differences = [better - value for better, value in zip(incumbents, values, strict=True)]
    if len(differences) < 2:
        return False
    from scipy.special import stdtrit  # Student's quantile; half a second that only races need

    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return statistics.fmean(differences) - float(stdtrit(len(differences) - 1, confidence)) * error > 0

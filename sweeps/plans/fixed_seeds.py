"""Every configuration with the same seeds, unless its first trial did not come to its end: whoever is stopped early is not tried again."""

from __future__ import annotations

from harness.types import Role
from sweeps.plans.plan import BasePlan, Decision, Explore, Overview, Phase, Terms
from sweeps.plans.replicating import lacking
from sweeps.plans.scores import Scores, contenders


class FixedSeeds(BasePlan):
    """`seeds`: of each configuration. One is only begun where the budget pays for all of them. Raises ValueError for less than one."""

    def __init__(self, *, seeds: int) -> None:
        if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1:
            raise ValueError(f"seeds: expected a whole number of at least 1, got {seeds!r}")
        self._seeds = seeds

    def next(self, overview: Overview) -> Decision | None:
        terms = overview.terms
        left = lacking(contenders(overview.standings), self._of(terms)[1:], overview.standings, role=Role.REPLICATE)
        if left.missing:
            return left.missing[0]
        running = sum(standing.phase is Phase.RUNNING for standing in overview.tuning)
        promised = self.spent(overview.standings, terms) + running * (len(self._of(terms)) - 1)
        return Explore() if overview.has_new and promised + len(self._of(terms)) <= terms.budget + 1e-9 else None

    def best(self, overview: Overview) -> int | None:
        ranked = Scores(overview.standings).ranked(contenders(overview.standings), self._of(overview.terms))
        return ranked[0].number if ranked else None

    def refusal(self, terms: Terms) -> str | None:
        if terms.budget < self._seeds:
            return f"{terms.budget:g} full runs do not pay for {self._seeds} seeds of one configuration (hydra.sweeper.plan.seeds)"
        return None

    def _of(self, terms: Terms) -> list[int]:
        return [terms.tuning_seed(index) for index in range(min(self._seeds, terms.most_seeds or self._seeds))]

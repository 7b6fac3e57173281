"""Any tuning with one seed, then the best with seeds that were never used for it."""

from __future__ import annotations

from sweeps.plans.confirming import Round, Stage, stage
from sweeps.plans.plan import BasePlan, Decision, Explore, Overview, Phase, Terms


class Confirmation(BasePlan):
    """`configurations`: so many of the best; `seeds`: that each gets besides. Raises ValueError for numbers that confirm nothing."""

    def __init__(self, *, configurations: int, seeds: int) -> None:
        for name, value, least in (("configurations", configurations, 2), ("seeds", seeds, 1)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name}: expected a whole number of at least {least}, got {value!r}")
        self._round = Round(configurations=configurations, seeds=1 + seeds)

    def next(self, overview: Overview) -> Decision | None:
        terms = overview.terms
        if (
            overview.has_new
            and self.spent(overview.tuning, terms) + 1 <= terms.budget - self._reserve(terms) + 1e-9
            and self.left(overview) >= 1
        ):
            return Explore()
        if any(standing.phase is Phase.RUNNING for standing in overview.tuning):
            return None
        return next(iter(self._stage(overview).missing), None)

    def best(self, overview: Overview) -> int | None:
        ranked = self._stage(overview).ranked
        return ranked[0].number if ranked else None

    def refusal(self, terms: Terms) -> str | None:
        if terms.budget < self._reserve(terms) + self._round.configurations:
            return (
                f"{terms.budget:g} full runs do not pay for tuning and {self._reserve(terms)} runs of confirmation "
                "(hydra.sweeper.plan.configurations, seeds)"
            )
        return None

    def _reserve(self, terms: Terms) -> int:
        """Full runs for all replicates; the default may be one more than the best."""
        return (self._round.configurations + (terms.default is not None)) * (self._round.seeds - 1)

    def _stage(self, overview: Overview) -> Stage:
        return stage([self._round], overview, left=self.left(overview), curve_weight=0.0)

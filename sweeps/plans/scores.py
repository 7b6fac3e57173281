"""What configurations are worth by the seeds that they were tried with; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.types import Role
from sweeps.plans.plan import Phase, Standing


def contenders(standings: Sequence[Standing]) -> list[Standing]:
    """The first trials that came to their end, one a configuration."""
    found: dict[str, Standing] = {}
    for standing in standings:
        if standing.role is Role.TUNING and standing.phase is Phase.COMPLETE:
            found.setdefault(standing.configuration, standing)
    return list(found.values())


class Scores:
    """By configuration and seed what a trial ended with, and `curve_weight` times the mean of its curve: that breaks ties of ends alike.

    A replicate that did not come to its end counts as the worst end of any that did.
    """

    def __init__(self, standings: Sequence[Standing], *, curve_weight: float = 0.0) -> None:
        self._curve_weight = curve_weight
        self._scores: Mapping[tuple[str, int], float] = {
            (standing.configuration, standing.seed): self._of(standing) for standing in standings if standing.phase is Phase.COMPLETE
        }
        self._worst = min(self._scores.values(), default=0.0)

    def each(self, configuration: str, seeds: Sequence[int]) -> list[float]:
        return [self._scores.get((configuration, seed), self._worst) for seed in seeds]

    def ranked(self, some: Sequence[Standing], seeds: Sequence[int]) -> list[Standing]:
        """By the mean over these seeds, the best first."""
        return sorted(some, key=lambda first: (-sum(self.each(first.configuration, seeds)) / len(seeds), first.number))

    def _of(self, standing: Standing) -> float:
        assert standing.value is not None
        curve = list(standing.reports.values()) or [standing.value]
        return standing.value + self._curve_weight * sum(curve) / len(curve)

"""Each point once, with one seed: as many trials as are asked for, each to its end unless the pruner stops it."""

from __future__ import annotations

from sweeps.plans.plan import BasePlan, Decision, Explore, Overview


class Once(BasePlan):
    """`hydra.sweeper.n_trials` is a number of trials. It looks at no single one, so that its cost does not grow with them."""

    full_runs = False

    def next(self, overview: Overview) -> Decision | None:
        wanted = not overview.concluding and overview.counted + overview.unfinished < overview.terms.budget
        return Explore() if wanted else None

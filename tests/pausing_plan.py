"""A plan of a user's own, by its `_target_`: all trials pause at one step, and when the last one has come there they go on."""

from __future__ import annotations

from sweeps.plans.plan import BasePlan, Decision, Explore, Overview, Phase, Resume, Terms


class AllPause(BasePlan):
    """`trials`: how many; `step`: where."""

    pauses = True

    def __init__(self, *, trials: int, step: int) -> None:
        self._trials, self._step = trials, step

    def first_goal(self, terms: Terms) -> int | None:
        return self._step

    def next(self, overview: Overview) -> Decision | None:
        if len(overview.standings) < self._trials:
            return Explore()
        if any(standing.phase is Phase.RUNNING and standing.goal is not None for standing in overview.standings):
            return None
        waiting = [standing for standing in overview.standings if standing.phase is Phase.PAUSED]
        return Resume(number=waiting[0].number, goal=None) if waiting else None

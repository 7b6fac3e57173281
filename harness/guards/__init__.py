"""Metric points to the verdict that a training has gone wrong, whatever its rank; pure, and never on one noisy step.

A guard fires after `patience` values in a row. Levels are held to a bound, to the trial's own beginning and to its peers at once: what a
whole study does is no one trial's fault, and a policy that began far out has not moved. A step that is logged again, after a resumption,
was judged already: a watch that reads the same files comes to the same verdicts.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.guards.level import Level
from harness.guards.peers import Learning, Peers
from harness.guards.signs import NO_SIGNAL, NON_FINITE, REWARD_HACKING, NonFinite, NoSignal, RewardHacking
from harness.guards.verdict import Guard
from harness.types import GuardSettings, GuardVerdict, MetricPoint

__all__ = ["NON_FINITE", "NO_SIGNAL", "REWARD_HACKING", "SPECIAL", "Peers", "Watch", "peers_of"]
SPECIAL = (NO_SIGNAL, REWARD_HACKING, NON_FINITE)  # the guards that watch no level


@dataclass(slots=True)
class Watch:
    """All guards over one trial."""

    learning: Learning
    guards: dict[str, Guard]  # by code

    @classmethod
    def over(cls, trial: int, settings: GuardSettings, peers: Peers) -> Watch:
        learning = Learning(settings.grace_steps)
        guards: dict[str, Guard] = {
            level.code: Level(level, trial, peers, learning, settings.grace_steps, settings.least_peers) for level in settings.levels
        }
        if settings.no_signal is not None:
            guards[NO_SIGNAL] = NoSignal(settings.no_signal, settings.grace_steps)
        if settings.reward_hacking is not None:
            guards[REWARD_HACKING] = RewardHacking(settings.reward_hacking)
        if settings.non_finite is not None:
            guards[NON_FINITE] = NonFinite(settings.non_finite)
        return cls(learning, guards)

    def add(self, point: MetricPoint) -> list[GuardVerdict]:
        """What this point makes certain; of a guard that is not dismissed, with each point that bears it out."""
        self.learning.add(point)
        return [fired for guard in self.guards.values() if (fired := guard.add(point)) is not None]

    def dismiss(self, code: str) -> None:
        """Its verdict is on record."""
        self.guards.pop(code, None)


def peers_of(settings: GuardSettings) -> Peers:
    """Of a study that is at its beginning."""
    return Peers(frozenset(level.metric for level in settings.levels), settings.peers)

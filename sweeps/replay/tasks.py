"""The nouns of a replay: a task is a finite list of configurations whose trainings were recorded; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.objective import better, reduce
from harness.types import Direction, Objective, Params

Recorded = tuple[tuple[int, float], ...]  # (step, value), ascending in step; NaN: there it diverged

_SAME = 1e-9  # of a mean: float noise makes no configuration better


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What was recorded of one question."""

    name: str
    labels: tuple[int | str, ...]  # how its source names the configurations
    params: tuple[Params, ...]  # of each configuration; None: does not apply to it
    curves_cs: tuple[tuple[Recorded | None, ...], ...]  # configurations x seeds; None: was not recorded
    objective: Objective
    total_steps: int
    space: dict[str, str] = field(default_factory=dict)  # knob -> Optuna's JSON of its distribution, where it is known

    @property
    def seeds(self) -> int:
        """The most that a configuration was recorded with."""
        return len(self.curves_cs[0])

    def truths(self) -> tuple[float, ...]:
        """Each configuration's mean over all its seeds. One that diverged counts as the worst end that was recorded."""
        ends = [[end_of(curve, self.objective) for curve in curves if curve is not None] for curves in self.curves_cs]
        finite = [end for values in ends for end in values if math.isfinite(end)]
        worst = (min if self.objective.direction is Direction.MAXIMIZE else max)(finite, default=0.0)
        return tuple(math.fsum(end if math.isfinite(end) else worst for end in values) / len(values) for values in ends)

    def regrets(self) -> tuple[float, ...]:
        """Of each configuration, were it picked: the share of all that are truly better."""
        truths = self.truths()
        return tuple(_share_better(truth, truths, self.objective.direction) for truth in truths)

    def toward(self, direction: Direction) -> Task:
        """The same recordings with another wish."""
        return replace(self, objective=replace(self.objective, direction=direction))


def end_of(curve: Recorded, objective: Objective) -> float:
    """What Optuna would be told of it; NaN for a run that diverged."""
    return reduce(curve, objective) if all(math.isfinite(value) for _, value in curve) else math.nan


def aligned(curves: Iterable[Mapping[int, Recorded]]) -> tuple[tuple[Recorded | None, ...], ...]:
    """Curves of each configuration by seed as configurations x seeds, the seed in most of them first."""
    listed = list(curves)
    seen = [seed for seeds in listed for seed in seeds]
    order = sorted(set(seen), key=lambda seed: (-seen.count(seed), seed))
    return tuple(tuple(seeds.get(seed) for seed in order) for seeds in listed)


def _share_better(truth: float, truths: Sequence[float], direction: Direction) -> float:
    clear = _SAME * max(1.0, abs(truth))
    return sum(better(other, truth, direction) and abs(other - truth) > clear for other in truths) / len(truths)

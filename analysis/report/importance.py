"""Which knobs the value hangs on, by Optuna's PED-ANOVA with the uncertainty of few points, and which show nothing at all; loads Optuna.

A configuration counts once: with the mean over its seeds or, where it was stopped, with the forecast of its end, as samplers are told; with
its last value where too few came to their ends for forecasts. Failed ones are left out: they tell of no value.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from analysis.report.facts import Facts
from harness.domains import Choices, Domain

EVALUATOR = "PED-ANOVA"
LEAST = 8  # configurations, with fewer of which nothing is said
MOST = 1000  # evenly of more
_DRAWS = 60
_CHANCE = 0.1  # of shuffled studies that show as much: a knob with more of them shows nothing
_SHUFFLES = 1000
_BETTER = 0.25  # the share of configurations that counts as good: a tenth of twenty would be two


@dataclass(frozen=True, kw_only=True, slots=True)
class Importance:
    """The share of one knob, and whether chance alone would show as much."""

    knob: str
    share: float
    low: float  # of an 80 % interval over halves of the configurations
    high: float
    chance: float  # share of shuffled studies in which the knob explains as much

    @property
    def measurable(self) -> bool:
        return self.chance <= _CHANCE


def importances(facts: Facts) -> tuple[Importance, ...]:
    """The highest share first; empty where there are too few configurations, or fewer than two knobs that varied.

    PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255) measures by how much each knob's distribution among the best quarter differs from
    that among all; shares are of their sum. The interval is over halves of the configurations, drawn anew each time: as wide as with
    resampling (McCarthy 1969, on half-samples), and none is counted twice, which would look like certainty to a density.
    """
    known = [one for one in facts.configurations if one.level is not None]
    known = known[:: -(-len(known) // MOST) or 1]
    knobs = [knob for knob in facts.domains if len({repr(one.params.get(knob)) for one in known}) > 1]
    if len(known) < LEAST or len(knobs) < 2:
        return ()
    values = [facts.sign * one.level for one in known if one.level is not None]
    shares = _Shares([one.params for one in known], values, {knob: facts.domains[knob] for knob in knobs})
    random, whole = numpy.random.default_rng(0), shares.of(range(len(known)))
    drawn = [shares.of(random.permutation(len(known))[: len(known) // 2].tolist()) for _ in range(_draws(len(known)))]
    found = []
    for knob in knobs:
        low: float
        high: float
        low, high = numpy.quantile([one[knob] for one in drawn], [0.1, 0.9])
        chance = _chance([one.params.get(knob) for one in known], facts.domains[knob], values)
        found.append(Importance(knob=knob, share=whole[knob], low=float(low), high=float(high), chance=chance))
    return tuple(sorted(found, key=lambda one: -one.share))


def _chance(points: Sequence[Any], domain: Domain, values: Sequence[float]) -> float:
    """How often a parabola in the knob explains the ranks of the values as well when they are dealt out anew; choices without order have a
    mean of each instead. A permutation test (Fisher 1935): it asks for no distribution.
    """
    known = [(point, value) for point, value in zip(points, values, strict=True) if domain.place(point) is not None]
    if len(known) < LEAST:
        return 1.0
    design = _design([point for point, _ in known], domain)
    ranks = numpy.argsort(numpy.argsort([value for _, value in known], kind="stable"), kind="stable").astype(float)
    ranks -= ranks.mean()
    basis, _ = numpy.linalg.qr(design - design.mean(axis=0))
    random = numpy.random.default_rng(0)
    dealt = random.permuted(numpy.tile(ranks, (_SHUFFLES, 1)), axis=1)
    explained, of_dealt = ((basis.T @ ranks) ** 2).sum(), ((dealt @ basis) ** 2).sum(axis=1)
    return float((1 + (of_dealt >= explained * (1 - 1e-9)).sum()) / (1 + _SHUFFLES))


def _design(points: Sequence[Any], domain: Domain) -> Any:
    """Columns that are never all alike: the place and its square, or one for each choice."""
    places = numpy.array([domain.place(point) for point in points], dtype=float)
    if isinstance(domain, Choices) and not domain.ordered:
        return numpy.array([places == place for place in numpy.unique(places)[1:]], dtype=float).T
    columns = [places] if len(numpy.unique(places)) < 3 else [places, places**2]
    return numpy.array(columns).T


class _Shares:
    """Asks Optuna's evaluator about points and their values, of which higher ones are better."""

    def __init__(self, points: Sequence[Mapping[str, Any]], values: Sequence[float], of: Mapping[str, Domain]) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._knobs, self._values = list(of), values
        self._evaluator: Any = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=_BETTER)
        create, spaces = optuna.trial.create_trial, {knob: _distribution(domain, points, knob) for knob, domain in of.items()}
        self._study = optuna.create_study()
        for point, value in zip(points, values, strict=True):
            own = {knob: _value(point[knob], domain) for knob, domain in of.items() if knob in point}
            self._study.add_trial(create(params=own, distributions={knob: spaces[knob] for knob in own}, value=-value))

    def of(self, places: Iterable[int]) -> dict[str, float]:
        """Of each knob, among the points at those places; equal ones where nothing tells them apart."""
        chosen = set(places)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "PedAnova.*low `target`")  # as it is meant here
            found = self._evaluator.evaluate(self._study, target=lambda trial: self._target(trial.number, chosen))
        total = sum(found.values())
        return {knob: found.get(knob, 0.0) / total if total > 0 else 1 / len(self._knobs) for knob in self._knobs}

    def _target(self, place: int, chosen: Collection[int]) -> float:
        """Lower ones are better; Optuna leaves out what has no finite one."""
        return -self._values[place] if place in chosen else math.nan


def _draws(count: int) -> int:
    return max(40, min(_DRAWS, 20_000 // count))


def _distribution(domain: Domain, points: Sequence[Mapping[str, Any]], knob: str) -> Any:
    """Wide enough for what the study holds, whose space may have changed."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    values = [point[knob] for point in points if knob in point]
    if isinstance(domain, Choices):
        return CategoricalDistribution(tuple(dict.fromkeys(_text(value) for value in (*domain.values, *values))))
    numbers = [value for value in values if domain.place(value) is not None]
    return FloatDistribution(min([domain.low, *numbers]), max([domain.high, *numbers]), log=domain.log)


def _value(value: Any, domain: Domain) -> Any:
    if isinstance(domain, Choices):
        return _text(value)
    return float(value) if domain.place(value) is not None else domain.low


def _text(value: Any) -> Any:
    """Optuna takes 1 and True for one choice."""
    return f"{type(value).__name__} {value}"

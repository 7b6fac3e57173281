"""From the default to the best, knob by knob: what each change is believed to bring, the most promising first; a model's word.

The greedy path of Fawcett and Hoos (2016, doi 10.1007/s10732-014-9275-9), on a surrogate as in Biedenkapp et al. (2017, AAAI 31), so that
nothing between the two has to be run for it. Refuses to guess the default itself: docs/report.md has how wrong that goes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy

from analysis.report.facts import Configuration, Facts
from analysis.report.surrogate import Joint, Surface
from harness.against import KEY, Against, against_default, has_default
from harness.domains import Choices, Domain
from harness.result import CONFIDENCE

LEAST = 10  # configurations with a value or a forecast, with fewer of which nothing is said
MOST = 150  # evenly of more, the best and the default among them
_WIDTH = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)  # standard deviations on either side of a normal mean


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One knob's change; positive gains are better, whatever the direction."""

    knob: str
    before: Any
    after: Any
    gain: float
    half_width: float  # of the interval around it
    level: float  # the value then, in the objective's own unit


@dataclass(frozen=True, kw_only=True, slots=True)
class Ablation:
    """The path, or why there is none."""

    steps: tuple[Step, ...] = ()
    start: float = math.nan  # the value of the default, as the model has it
    gain: float = math.nan  # of all steps
    half_width: float = math.nan
    configurations: int = 0  # that the model has seen
    alike: tuple[str, ...] = ()  # knobs that have the same value at both ends
    measured: Against | None = None  # the two ends, as they were run
    why_not: str = ""


def ablation(facts: Facts) -> Ablation | None:
    """None where there is nothing to ask: no best configuration, several objectives, or knobs that replace nothing."""
    default, best = facts.status.record.defaults, facts.best
    if best is None or facts.result is None or not has_default(facts.status.record):
        return None
    known = [one for one in facts.configurations if one.values or one.forecast is not None]
    differing = [knob for knob in facts.domains if default[knob] != best.params.get(knob)]
    measured = against_default(facts.status, facts.result)
    within = _is_within(facts, default) and _is_within(facts, best.params)
    if not differing or not within or measured is None or len(known) < LEAST:
        return Ablation(why_not=_why_not(len(known), differ=bool(differing), within=within, measured=measured is not None))
    surface = _Model(facts, known, measured.default.configuration)
    order, points = _greedy(surface, default, best.params, differing)
    joint = surface.joint(points)
    gain, half_width = between(joint, 0, -1)
    return Ablation(
        steps=tuple(_step(facts, joint, place, knob, points) for place, knob in enumerate(order)),
        start=facts.sign * float(joint.mean_m[0]),
        gain=gain,
        half_width=half_width,
        configurations=surface.seen,
        alike=tuple(knob for knob in facts.domains if knob not in differing),
        measured=measured,
    )


def _is_within(facts: Facts, point: Mapping[str, Any]) -> bool:
    """Whether each of its values lies in what was asked for: beyond, a model knows nothing."""
    return all(domain.holds(point.get(knob)) for knob, domain in facts.domains.items())


def _why_not(known: int, *, differ: bool, within: bool, measured: bool) -> str:
    if not differ:
        return "The best is the default itself."
    if not within:
        return "The default or the best one lies outside the ranges of the study's record, where a model knows nothing."
    if not measured:
        return f"The default has no value, and a model should not guess it: {KEY} makes it a trial."
    return f"{known} configurations with a value or a forecast of it are too few for a model: {LEAST} at least."


def _greedy(
    surface: _Model, default: Mapping[str, Any], best: Mapping[str, Any], differing: Sequence[str]
) -> tuple[list[str], list[dict[str, Any]]]:
    """The knobs in their order, and the points from the one end to the other: each time the change of which most is expected."""
    here, left, order = dict(default), list(differing), list[str]()
    points = [here]
    while left:
        means = surface.means([{**here, knob: best[knob]} for knob in left])
        knob = left.pop(int(numpy.argmax(means)))
        here = {**here, knob: best[knob]}
        order.append(knob)
        points.append(here)
    return order, points


def _step(facts: Facts, joint: Joint, place: int, knob: str, points: Sequence[Mapping[str, Any]]) -> Step:
    gain, half_width = between(joint, place, place + 1)
    level = facts.sign * float(joint.mean_m[place + 1])
    return Step(knob=knob, before=points[place][knob], after=points[-1][knob], gain=gain, half_width=half_width, level=level)


def between(joint: Joint, first: int, last: int) -> tuple[float, float]:
    """Between two points, and half of the interval around it: what is unknown of both alike is no part of it."""
    known = joint.covariance_mm
    variance = known[first, first] + known[last, last] - 2 * known[first, last]
    return float(joint.mean_m[last] - joint.mean_m[first]), _WIDTH * math.sqrt(max(float(variance), 0.0))


class _Model:
    """The surrogate, asked about points by their knobs; higher is better. A configuration counts with its mean, else with its forecast."""

    def __init__(self, facts: Facts, known: Sequence[Configuration], default: str) -> None:
        places = {round(place) for place in numpy.linspace(0, len(known) - 1, min(len(known), MOST))}  # the best is the first
        places |= {place for place, one in enumerate(known) if one.name == default}
        some = [known[place] for place in sorted(places)]
        self.seen, self._of = len(some), facts.domains
        widths = [len(_columns(None, domain)) for domain in self._of.values()]
        self._surface = Surface(
            self._rows([one.params for one in some]),
            [facts.sign * one.level for one in some if one.level is not None],
            knob_d=[place for place, width in enumerate(widths) for _ in range(width)],
            seeds_n=[max(len(one.values), 1) for one in some],
        )

    def means(self, points: Sequence[Mapping[str, Any]]) -> Any:
        return self._surface.means(self._rows(points))

    def joint(self, points: Sequence[Mapping[str, Any]]) -> Joint:
        return self._surface.joint(self._rows(points))

    def _rows(self, points: Sequence[Mapping[str, Any]]) -> Any:
        return numpy.array([[at for knob, domain in self._of.items() for at in _columns(point.get(knob), domain)] for point in points])


def _columns(value: Any, domain: Domain) -> list[float]:
    """Where it lies from 0 to 1; of choices without an order each is as far from every other. What is not applicable lies in the middle."""
    if isinstance(domain, Choices) and not domain.ordered:
        return [float(type(one) is type(value) and one == value) for one in domain.values]
    place = domain.place(value)
    return [0.5 if place is None else place]

"""What few seeds tell of a mean, beside the intervals that decide (`harness.comparison`): robust means, resampling, luck; pure.

Nothing here decides what is best or tied: these numbers stand beside the result, so that a reader can doubt it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy

from harness.comparison import mean, spreads

RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Luck:
    """How much better the best of several looks than it is, in the objective's unit."""

    amount: float
    among: int


def interquartile_mean(values: Sequence[float]) -> float:
    """The mean without the lowest and the highest quarter, whole values only; fewer than four lose none.

    Agarwal et al. 2021 (arXiv 2108.13264) compare algorithms by it, as scipy's trim_mean with 0.25 has it.
    """
    ascending, cut = sorted(values), len(values) // 4
    return mean(ascending[cut : len(ascending) - cut])


def bootstrap(values: Mapping[str, Mapping[int, float]], *, confidence: float, seed: int = 0) -> dict[str, Interval]:
    """Percentile intervals of each configuration's mean over its seeds: configuration -> seed -> value.

    Seeds are drawn with replacement, and where configurations share their seeds the same draw serves all of them, as replicates are paired
    (Efron 1979; stratified as in Agarwal et al. 2021: within each configuration, never across). With few seeds such intervals are too
    narrow: of three values they hold the mean six times in ten where they promise nine (docs/report.md). One seed has none.
    """
    draws: dict[tuple[int, ...], numpy.ndarray] = {}
    found = {}
    for name, of_seed in values.items():
        seeds = tuple(sorted(of_seed))
        if len(seeds) < 2:
            continue
        if seeds not in draws:
            random = numpy.random.default_rng([seed, len(seeds), *(abs(one) for one in seeds)])
            draws[seeds] = random.integers(len(seeds), size=(RESAMPLES, len(seeds)))
        means = numpy.array([of_seed[one] for one in seeds])[draws[seeds]].mean(axis=1)
        low, high = numpy.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
        found[name] = Interval(low=float(low), high=float(high))
    return found


def probability_of_improvement(one: Sequence[float], other: Sequence[float]) -> float:
    """That a value of the first is higher than one of the second, ties counting half: Mann and Whitney's U over the number of pairs."""
    return sum((a > b) + 0.5 * (a == b) for a in one for b in other) / (len(one) * len(other))


def luck_of_the_best(samples: Sequence[Sequence[float]]) -> Luck | None:
    """What the highest of several sample means owes to having been picked; None where no sample has two values, or there is one sample.

    Means are taken to be normal around true ones that are normal themselves (Efron and Morris 1975, doi 10.2307/2285814; on selection:
    Efron 2011, doi 10.1198/jasa.2011.tm11181): given the data, the best one's true mean is expected at its own mean, shrunk towards that of
    all by the share of its variance that is noise. Higher is better; docs/report.md has how right it is.
    """
    known = spreads(samples)
    if len(samples) < 2 or any(spread is None for spread in known):
        return None
    means = [mean(sample) for sample in samples]
    noise = [spread.sd**2 / len(sample) for spread, sample in zip(known, samples, strict=True) if spread is not None]
    middle = mean(means)
    between = max(math.fsum((one - middle) ** 2 for one in means) / (len(means) - 1) - mean(noise), 0.0)
    place = max(range(len(means)), key=lambda index: means[index])
    share = noise[place] / (noise[place] + between) if noise[place] else 0.0
    return Luck(amount=share * (means[place] - middle), among=len(means))

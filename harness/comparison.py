"""Intervals around means of few values, and which means cannot be told from the highest; pure statistics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.dunnett import one_sided_point

PRIOR_DEGREES = 4  # what all samples say of one's spread weighs as much as five values of its own
_LEAST_PAIRED_DEGREES = 3  # with fewer, the pairing costs more than it brings


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """The standard deviation of one value, and how well it is known."""

    sd: float
    degrees: int
    paired: bool = False  # what seeds do to all alike is no part of it


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """How much higher one mean is than another."""

    mean: float
    half_width: float | None  # of the interval around it; None where nothing tells a spread
    paired: bool  # by differences at the same seeds


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def half_width(spread: Spread, count: int, *, confidence: float) -> float:
    """Of the interval around a mean of so many values that holds the true one with that confidence (Student's t)."""
    return one_sided_point((0.0,), spread.degrees, (1 + confidence) / 2) * spread.sd / math.sqrt(count)


def spreads(samples: Sequence[Sequence[float]]) -> list[Spread | None]:
    """Of each sample; None where no sample has two values.

    The moderated variance of Smyth (2004, doi 10.2202/1544-6115.1027): a sample's own and the pooled one, each weighed by its degrees of
    freedom. He estimates the prior degrees from thousands of samples; a handful cannot tell them, so that they are fixed here:
    docs/result.md has the coverage that they were chosen by.
    """
    squares = [_squares(sample) for sample in samples]
    total = sum(len(sample) - 1 for sample in samples)
    if not total:
        return [None for _ in samples]
    pooled = math.fsum(squares) / total
    return [_moderated(own, len(sample) - 1, pooled, total) for own, sample in zip(squares, samples, strict=True)]


def not_worse(samples: Sequence[Mapping[int, float]], *, confidence: float) -> list[int]:
    """The places of the samples, values by seed, that may have the highest true mean: with that confidence it is one of them.

    Multiple comparisons with the best (Hsu 1984, doi 10.1214/aos/1176346735): a sample stays where no other one's mean is higher by more
    than chance would have it, with it as the control of Dunnett's one-sided comparisons. That corrects for the best having been picked
    among many. All are taken to have one standard deviation; where all have the same seeds, what a seed does to all alike is taken out of
    it (randomised blocks). All stay where there is nothing to know it from.
    """
    spread = _paired(samples) or _pooled(samples)
    if spread is None or len(samples) == 1:
        return list(range(len(samples)))
    means = [mean(list(sample.values())) for sample in samples]
    counts = [len(sample) for sample in samples]
    return [place for place in range(len(samples)) if _may_be_best(place, means, counts, spread, confidence)]


def from_control(control: Mapping[int, float], samples: Sequence[Mapping[int, float]], *, confidence: float) -> list[Difference]:
    """How much higher each sample's mean is than the control's, values by seed; the intervals hold all true differences at once.

    Dunnett's comparisons of many with one (1955, doi 10.2307/2281208), which corrects for asking about whichever came out best. The
    standard deviation is that of `not_worse`. Each side has half of what the confidence leaves, so that an interval is Student's for one
    sample and a little too wide for several.
    """
    spread = _paired([control, *samples]) or _pooled([control, *samples])
    middle, own = mean(list(control.values())), len(control)
    means = [mean(list(sample.values())) - middle for sample in samples]
    if spread is None:
        return [Difference(mean=one, half_width=None, paired=False) for one in means]
    point = one_sided_point(tuple(sorted(len(sample) / (own + len(sample)) for sample in samples)), spread.degrees, (1 + confidence) / 2)
    return [
        Difference(mean=one, half_width=point * spread.sd * math.sqrt(1 / own + 1 / len(sample)), paired=spread.paired)
        for one, sample in zip(means, samples, strict=True)
    ]


def paired(first: Mapping[int, float], second: Mapping[int, float], *, confidence: float) -> Difference:
    """How much higher the second sample is at the seeds that both have, two at least: Student's interval of the mean difference.

    What a seed does to both alike is no part of it.
    """
    differences = [second[seed] - first[seed] for seed in sorted(first.keys() & second.keys())]
    spread = _pooled([dict(enumerate(differences))])
    assert spread is not None, "two seeds that both have"
    return Difference(mean=mean(differences), half_width=half_width(spread, len(differences), confidence=confidence), paired=True)


def _may_be_best(place: int, means: Sequence[float], counts: Sequence[int], spread: Spread, confidence: float) -> bool:
    own = counts[place]
    others = [(means[other], count) for other, count in enumerate(counts) if other != place]
    shares = sorted(count / (own + count) for _, count in others)  # of the difference's variance that is this mean's
    point = one_sided_point(tuple(shares), spread.degrees, confidence)
    return all(higher - means[place] <= point * spread.sd * math.sqrt(1 / own + 1 / count) for higher, count in others)


def _paired(samples: Sequence[Mapping[int, float]]) -> Spread | None:
    """Once the samples' and the seeds' own means are taken out; None where not all have the same seeds, or too few."""
    seeds = sorted(samples[0])
    degrees = (len(samples) - 1) * (len(seeds) - 1)
    if degrees < _LEAST_PAIRED_DEGREES or any(sorted(sample) != seeds for sample in samples):
        return None
    of_seeds = {seed: mean([sample[seed] for sample in samples]) for seed in seeds}
    squares = [_squares([value - of_seeds[seed] for seed, value in sample.items()]) for sample in samples]
    return Spread(sd=math.sqrt(math.fsum(squares) / degrees), degrees=degrees, paired=True)


def _pooled(samples: Sequence[Mapping[int, float]]) -> Spread | None:
    degrees = sum(len(sample) - 1 for sample in samples)
    if not degrees:
        return None
    return Spread(sd=math.sqrt(math.fsum(_squares(list(sample.values())) for sample in samples) / degrees), degrees=degrees)


def _moderated(squares: float, degrees: int, pooled: float, total: int) -> Spread:
    variance = (PRIOR_DEGREES * pooled + squares) / (PRIOR_DEGREES + degrees)
    return Spread(sd=math.sqrt(variance), degrees=min(PRIOR_DEGREES + degrees, total))


def _squares(sample: Sequence[float]) -> float:
    """The sum of squared distances from the mean."""
    middle = mean(sample)
    return math.fsum((value - middle) ** 2 for value in sample)

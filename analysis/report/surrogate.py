"""A Gaussian process of a study's configurations, averaged over the length scales that the data leave open; numpy only.

Unlike the sampler's it speaks in the objective's own unit, and with an uncertainty that can be held against simulations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy

Array = Any  # numpy.ndarray; n points, m other points, d columns, k knobs

_DRAWS, _THIN, _BURN = 60, 4, 60  # of the chain over length scales and noise
_STEP = 0.35  # of the chain, in logarithms
_SCALE = (0.0, 1.2)  # mean and standard deviation of a length scale's logarithm, the range of a knob being 1
_NOISE = (math.log(0.1), 1.5)  # likewise of the variance of one seed, that of the surface being 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Joint:
    """What is believed of several points at once."""

    mean_m: Array
    covariance_mm: Array


class Surface:
    """The value everywhere, from points in the unit cube that were seen with noise.

    Matern 5/2 with a length scale for each knob; level and height of the surface have flat priors and are integrated out (Rasmussen and
    Williams 2006, 2.7), scales and noise by a chain (Metropolis; on marginalising them: Snoek et al. 2012, arXiv 1206.2944), always the
    same one. `knob_d`: to which knob a column belongs; `seeds_n`: how many values each mean is over.
    """

    def __init__(self, points_nd: Array, values_n: Array, *, knob_d: Sequence[int], seeds_n: Sequence[int]) -> None:
        self._points, self._knob = numpy.asarray(points_nd, dtype=float), numpy.asarray(knob_d)
        values = numpy.asarray(values_n, dtype=float)
        self._middle, self._unit = values.mean(), values.std() or 1.0
        self._values = (values - self._middle) / self._unit
        self._share = 1 / numpy.asarray(seeds_n, dtype=float)
        self._fits = [self._fit(one) for one in self._chain(numpy.random.default_rng(0))]

    def means(self, points_md: Array) -> Array:
        return self._middle + self._unit * numpy.mean([self._mean(fit, points_md) for fit in self._fits], axis=0)

    def joint(self, points_md: Array) -> Joint:
        """The spread within each draw of the chain and that between them."""
        means = numpy.array([self._mean(fit, points_md) for fit in self._fits])
        within = numpy.mean([self._covariance(fit, points_md) for fit in self._fits], axis=0)
        between = numpy.cov(means.T, bias=True).reshape(within.shape)
        return Joint(mean_m=self._middle + self._unit * means.mean(axis=0), covariance_mm=self._unit**2 * (within + between))

    # --- one draw -------------------------------------------------------------------------------------------------------------------

    def _fit(self, logs: Array) -> _Fit:
        scales, noise = numpy.exp(logs[:-1]), math.exp(logs[-1])
        covariance = _matern(self._points, self._points, scales[self._knob]) + numpy.diag(noise * self._share + 1e-8)
        lower = numpy.linalg.cholesky(covariance)
        ones = numpy.linalg.solve(lower, numpy.ones(len(self._values)))
        white = numpy.linalg.solve(lower, self._values)
        level = float(ones @ white / (ones @ ones))
        rest = white - level * ones
        degrees = len(self._values) - 1
        height = float(rest @ rest) / degrees
        evidence = -numpy.log(numpy.diag(lower)).sum() - math.log(ones @ ones) / 2 - degrees / 2 * math.log(max(height, 1e-12))
        return _Fit(
            logs=logs, scales_d=scales[self._knob], lower_nn=lower, ones_n=ones, rest_n=rest, level=level, height=height, evidence=evidence
        )

    def _mean(self, fit: _Fit, points_md: Array) -> Array:
        reach = numpy.linalg.solve(fit.lower_nn, _matern(self._points, points_md, fit.scales_d))
        return fit.level + reach.T @ fit.rest_n

    def _covariance(self, fit: _Fit, points_md: Array) -> Array:
        reach = numpy.linalg.solve(fit.lower_nn, _matern(self._points, points_md, fit.scales_d))
        unknown = 1 - reach.T @ fit.ones_n  # of the level
        known = _matern(points_md, points_md, fit.scales_d) - reach.T @ reach
        return fit.height * (known + numpy.outer(unknown, unknown) / (fit.ones_n @ fit.ones_n))

    # --- the chain ------------------------------------------------------------------------------------------------------------------

    def _chain(self, random: Any) -> list[Array]:
        count = int(self._knob.max()) + 1
        here = numpy.array([_SCALE[0]] * count + [_NOISE[0]])
        worth, kept = self._worth(here), []
        for step in range(_BURN + _DRAWS * _THIN):
            there = here + _STEP * random.standard_normal(count + 1)
            its = self._worth(there)
            if math.log(random.random()) < its - worth:
                here, worth = there, its
            if step >= _BURN and step % _THIN == 0:
                kept.append(here)
        return kept

    def _worth(self, logs: Array) -> float:
        prior = -(((logs[:-1] - _SCALE[0]) / _SCALE[1]) ** 2).sum() / 2 - ((logs[-1] - _NOISE[0]) / _NOISE[1]) ** 2 / 2
        return float(prior) + self._fit(logs).evidence


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fit:
    """A surface with these scales and this noise; `level` and `height` are what the data make of them."""

    logs: Array
    scales_d: Array
    lower_nn: Array  # of the covariance of what was seen
    ones_n: Array
    rest_n: Array
    level: float
    height: float
    evidence: float  # logarithm, up to a constant


def _matern(one_nd: Array, other_md: Array, scales_d: Array) -> Array:
    """Matern 5/2."""
    a, b = one_nd / scales_d, other_md / scales_d
    squares = numpy.maximum((a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None, :] - 2 * a @ b.T, 0)
    distance = numpy.sqrt(5 * squares)
    return (1 + distance + distance * distance / 3) * numpy.exp(-distance)

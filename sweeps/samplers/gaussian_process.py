"""A Gaussian process whose length scales are read off the data in one pass: nothing is fitted, so that a few noisy values mislead little.

Points are rows in the unit cube; values are ranks made normal, so that neither the metric's unit nor a collapse's depth counts.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np

Array = Any  # numpy.ndarray; n points, d columns

NOISE = 0.1  # variance of a value around the surface, beside the surface's own of 1
LEAST_RELEVANCE = 0.05  # of a column that explains nothing


def normal_scores(values: Array) -> Array:
    """For each value_n the normal quantile of its rank, equal ones sharing their mean rank (Blom-type scores, rank - 0.5 over n)."""
    values = np.asarray(values, dtype=float)
    below = (values[:, None] > values[None, :]).sum(axis=1)
    alike = (values[:, None] == values[None, :]).sum(axis=1)
    shares = (below + alike / 2) / len(values)
    return np.array([NormalDist().inv_cdf(float(share)) for share in shares])


def relevance(points_nd: Array, scores_n: Array) -> Array:
    """Of each column the share of the scores' variance that it explains alone, by a line or a parabola, less what chance explains."""
    n = len(points_nd)
    line = points_nd - points_nd.mean(axis=0)
    bend = line * line
    bend = bend - bend.mean(axis=0)
    centred = scores_n - scores_n.mean()
    total = float(centred @ centred) + 1e-12

    def explained(column_nd: Array) -> Array:
        return (centred @ column_nd) ** 2 / ((column_nd * column_nd).sum(axis=0) * total + 1e-12)

    return np.maximum(np.maximum(explained(line), explained(bend)) - 2 / n, 0) + LEAST_RELEVANCE


class Surface:
    """What is believed of the scores everywhere, from those that were seen."""

    def __init__(self, points_nd: Array, scores_n: Array) -> None:
        weights = relevance(points_nd, scores_n)
        self._stretch = np.sqrt(weights / weights.mean())
        self._seen = points_nd
        self._mean = scores_n.mean()
        self._pull = np.linalg.solve(self._covariance(points_nd), scores_n - self._mean)

    def hope(self, points_md: Array, pending_kd: Array, *, courage: float) -> Array:
        """At each point the mean and `courage` standard deviations (Srinivas et al., arXiv 0912.3995).

        What runs at `pending_kd` makes its surroundings less uncertain, and no better (Desautels et al., JMLR 15, 2014).
        """
        mean = self._mean + self._kernel(points_md, self._seen) @ self._pull
        known = np.concatenate([self._seen, pending_kd]) if len(pending_kd) else self._seen
        lower = np.linalg.cholesky(self._covariance(known))
        share = np.linalg.solve(lower, self._kernel(known, points_md))
        variance = np.maximum(1 - (share * share).sum(axis=0), 1e-6)
        return mean + courage * np.sqrt(variance)

    def _covariance(self, points_nd: Array) -> Array:
        return self._kernel(points_nd, points_nd) + NOISE * np.eye(len(points_nd))

    def _kernel(self, one_nd: Array, other_md: Array) -> Array:
        """Matern 5/2."""
        a, b = one_nd * self._stretch, other_md * self._stretch
        squares = np.maximum((a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None, :] - 2 * a @ b.T, 0)
        distance = np.sqrt(5 * squares)
        return (1 + distance + distance * distance / 3) * np.exp(-distance)

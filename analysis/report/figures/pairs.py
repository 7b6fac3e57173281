"""Two knobs and the value: points over the mean of the values nearby."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy

from analysis.report.facts import Configuration, Facts, Standing
from analysis.report.figures import scales
from analysis.report.figures.figure import SCALE, Figure, Trace, View, number, numbers
from analysis.report.figures.knobs import hover, known, left_out
from analysis.report.importance import Importance

_PAIRS = 10
_CELLS = 28
_REACH = 0.14  # of a range: how far a configuration's value is taken to hold around it
_SEEN = 0.35  # weight, in configurations, from which on the surface is drawn


def pairs(facts: Facts, found: Sequence[Importance]) -> Figure | None:
    """Two knobs and the value, for the pairs of the most important ones."""
    shown, ranked = known(facts), {one.knob: place for place, one in enumerate(found)}
    knobs = sorted(facts.domains, key=lambda knob: ranked.get(knob, len(ranked)))
    views = []
    for one, other in itertools.islice(itertools.combinations(knobs, 2), _PAIRS):
        placed = [
            point
            for point in shown
            if scales.position(facts.domains[one], point.params.get(one)) is not None
            and scales.position(facts.domains[other], point.params.get(other)) is not None
        ]
        if len(placed) >= 4:
            views.append(_pair(facts, placed, one, other))
    if not views:
        return None
    return Figure(
        key="pairs",
        title="Two knobs at a time",
        reading=(
            "Points are configurations (hollow: stopped early, where the figure before has them). The surface behind them is the mean "
            "of the values nearby, weighted by distance; where nothing was tried it is left blank, for nothing is known there."
        ),
        views=tuple(views),
        note=left_out(facts),
        choice="knobs",
        height=460,
    )


def _pair(facts: Facts, placed: Sequence[Configuration], one: str, other: str) -> View:
    across, up = facts.domains[one], facts.domains[other]
    x = [scales.position(across, point.params[one]) or 0.0 for point in placed]
    y = [scales.position(up, point.params[other]) or 0.0 for point in placed]
    levels = [point.level or 0.0 for point in placed]
    ends = [scales.span(domain, [point.params[knob] for point in placed]) for domain, knob in ((across, one), (up, other))]
    columns, rows, surface = _surface(x, y, levels, ends)
    colours = {"colorscale": SCALE, "reversescale": facts.sign < 0, "cmin": number(min(levels)), "cmax": number(max(levels))}
    contour: Trace = {
        "type": "contour",
        "x": columns,
        "y": rows,
        "z": surface,
        "colorscale": SCALE,
        "reversescale": facts.sign < 0,
        "zmin": number(min(levels)),
        "zmax": number(max(levels)),
        "ncontours": 14,
        "line": {"width": 0},
        "opacity": 0.75,
        "hoverinfo": "skip",
        "connectgaps": False,
        "colorbar": {"title": {"text": "value"}, "thickness": 10},
    }
    points: Trace = {
        "type": "scatter",
        "mode": "markers",
        "x": x,
        "y": y,
        "marker": {
            **colours,
            "color": numbers(levels),
            "size": [14 if point.standing is Standing.BEST else 9 for point in placed],
            "symbol": ["circle-open" if point.standing is Standing.STOPPED else "circle" for point in placed],
            "line": {"width": 1.5, "color": "#ffffff"},
        },
        "text": [hover(facts, point) for point in placed],
        "hovertemplate": "%{text}<extra></extra>",
        "customdata": [point.first for point in placed],
    }
    layout = {
        "xaxis": scales.along(facts.names[one], across, [point.params[one] for point in placed]),
        "yaxis": scales.along(facts.names[other], up, [point.params[other] for point in placed]),
        "showlegend": False,
    }
    return View(label=f"{facts.names[one]} x {facts.names[other]}", data=[contour, points], layout=layout)


def _surface(
    x: Sequence[float], y: Sequence[float], levels: Sequence[float], ends: Sequence[tuple[float, float]]
) -> tuple[list[float | None], list[float | None], list[list[float | None]]]:
    """The mean of the values nearby (Nadaraya and Watson, 1964), None where nothing is near."""
    (left, right), (bottom, top) = ends
    columns, rows = numpy.linspace(left, right, _CELLS), numpy.linspace(bottom, top, _CELLS)
    far_x = (columns[:, None] - numpy.array(x)) / (right - left)
    far_y = (rows[:, None] - numpy.array(y)) / (top - bottom)
    weights = numpy.exp(-(far_x[None, :, :] ** 2 + far_y[:, None, :] ** 2) / (2 * _REACH**2))
    total = weights.sum(axis=2)
    with numpy.errstate(invalid="ignore", divide="ignore"):
        means = (weights * numpy.array(levels)).sum(axis=2) / total
    cells = [
        [number(float(mean)) if seen >= _SEEN else None for mean, seen in zip(*row, strict=True)] for row in zip(means, total, strict=True)
    ]
    return numbers(columns.tolist()), numbers(rows.tolist()), cells

"""What the value hangs on: parallel coordinates, importance, a slice for each knob, and pairs of knobs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy

from analysis.report.facts import Configuration, Facts, Standing
from analysis.report.figures import scales
from analysis.report.figures.figure import COLOURS, SCALE, Figure, Trace, View, axis, number, numbers, text
from analysis.report.importance import EVALUATOR, Importance
from harness.wording import knob_line, shortened

_MOST = 1000  # configurations that are drawn: the best
_PAIRS = 10
_LABEL = 26  # characters beside an axis
_CELLS = 28
_REACH = 0.14  # of a range: how far a configuration's value is taken to hold around it
_SEEN = 0.35  # weight, in configurations, from which on the surface is drawn


def parallel(facts: Facts) -> Figure | None:
    """None where fewer than two configurations have a value."""
    known = _known(facts)
    knobs = [
        knob for knob, domain in facts.domains.items() if any(scales.position(domain, one.params.get(knob)) is not None for one in known)
    ]
    if len(known) < 2 or not knobs:
        return None
    dimensions = []
    for knob in knobs:
        domain, values = facts.domains[knob], [one.params.get(knob) for one in known]
        (low, high), (marks, words) = scales.span(domain, values), scales.ticks(domain, values)
        places = [scales.position(domain, value) for value in values]
        dimensions.append(
            {
                "label": text(shortened(facts.names[knob], _LABEL)),
                "values": places,
                "range": [low, high],
                "tickvals": marks,
                "ticktext": words,
            }
        )
    levels = numbers(one.level for one in known)
    dimensions.append({"label": "value", "values": levels})
    finite = [level for level in levels if level is not None]
    trace: Trace = {
        "type": "parcoords",
        "dimensions": dimensions,
        "line": {
            "color": levels,
            "colorscale": SCALE,
            "reversescale": facts.sign < 0,
            "cmin": min(finite),
            "cmax": max(finite),
            "showscale": True,
            "colorbar": {"thickness": 10},
        },
        "unselected": {"line": {"opacity": 0.05}},
    }
    return Figure(
        key="parallel",
        title="Parallel coordinates",
        reading=(
            "One line a configuration, from knob to knob to its value; bright is high. Drag along an axis to keep what passes there, "
            "drag an axis' name to move it, click to let go."
        ),
        views=(View(label="", data=[trace], layout={"margin": {"l": 70, "r": 40, "t": 60, "b": 30}}),),
        note=_left_out(facts),
        height=420,
    )


def importance(facts: Facts, found: Sequence[Importance]) -> Figure | None:
    if not found:
        return None
    names = [text(shortened(facts.names[one.knob], _LABEL)) for one in reversed(found)]
    shares = [one.share for one in reversed(found)]
    bars: Trace = {
        "type": "bar",
        "orientation": "h",
        "x": numbers(shares),
        "y": names,
        "marker": {"color": [COLOURS[Standing.BEST] if one.measurable else COLOURS[Standing.BEHIND] for one in reversed(found)]},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": numbers(max(one.high - one.share, 0.0) for one in reversed(found)),
            "arrayminus": numbers(max(one.share - one.low, 0.0) for one in reversed(found)),
            "thickness": 1.2,
            "color": COLOURS[Standing.OPEN],
        },
        "customdata": numbers(one.chance for one in reversed(found)),
        "hovertemplate": "%{y}: %{x:.0%}; %{customdata:.1%} of shuffled studies show as much<extra></extra>",
    }
    return Figure(
        key="importance",
        title="Importance of the knobs",
        reading=(
            f"The share of each knob by Optuna's {EVALUATOR}: how much its values among the best quarter of the configurations differ from "
            "those among all. Whiskers hold 80 % of the shares among halves of the configurations. A grey knob explains no more of the "
            "values' ranks than one in ten shuffled studies would: nothing that this study could measure. A stopped configuration counts "
            "with the forecast of its end or, where too few came to theirs, with its last value; a failed one not at all."
        ),
        views=(
            View(
                label="",
                data=[bars],
                layout={
                    "xaxis": axis("share", tickformat=".0%", rangemode="tozero"),
                    "yaxis": {"type": "category"},
                    "showlegend": False,
                    "bargap": 0.45,
                },
            ),
        ),
        height=110 + 46 * len(found),
    )


def slices(facts: Facts, found: Sequence[Importance]) -> Figure | None:
    """A view for each knob, the most important first."""
    known, ranked = _known(facts), {one.knob: place for place, one in enumerate(found)}
    views = []
    for knob in sorted(facts.domains, key=lambda knob: ranked.get(knob, len(ranked))):
        domain = facts.domains[knob]
        placed = [one for one in known if scales.position(domain, one.params.get(knob)) is not None]
        if len(placed) > 1:
            data = [
                _points(facts, alike, knob, standing)
                for standing in reversed(Standing)
                if (alike := [one for one in placed if one.standing is standing])
            ]
            ends = scales.along(facts.names[knob], domain, [one.params[knob] for one in placed])
            views.append(
                View(
                    label=facts.names[knob],
                    data=data,
                    layout={"xaxis": ends, "yaxis": axis("value"), "showlegend": False},
                )
            )
    if not views:
        return None
    return Figure(
        key="slices",
        title="One knob at a time",
        reading=(
            "Each point is a configuration; the bar through one with several seeds is the interval of its mean. Hollow points were "
            "stopped early and stand at the forecast of their end with its interval or, where too few came to theirs, where they stood "
            "last. What the other knobs do is in the scatter."
        ),
        views=tuple(views),
        note=_left_out(facts),
        choice="knob",
        height=400,
    )


def pairs(facts: Facts, found: Sequence[Importance]) -> Figure | None:
    """Two knobs and the value, for the pairs of the most important ones."""
    known, ranked = _known(facts), {one.knob: place for place, one in enumerate(found)}
    knobs = sorted(facts.domains, key=lambda knob: ranked.get(knob, len(ranked)))
    views = []
    for one, other in itertools.islice(itertools.combinations(knobs, 2), _PAIRS):
        placed = [
            point
            for point in known
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
        note=_left_out(facts),
        choice="knobs",
        height=460,
    )


def _known(facts: Facts) -> list[Configuration]:
    return [one for one in facts.configurations if one.level is not None][:_MOST]


def _left_out(facts: Facts) -> str:
    more = sum(one.level is not None for one in facts.configurations) - _MOST
    return f"The {more} weakest configurations are not drawn." if more > 0 else ""


def _hover(facts: Facts, one: Configuration) -> str:
    trials = ", ".join(str(trial.number) for trial in one.trials)
    level = "" if one.level is None else f"{one.level:.4g}"
    return f"trial{'s' * (len(one.trials) > 1)} {trials}: {level} ({one.standing})<br>{text(knob_line(one.params, facts.names))}"


def _interval(one: Configuration) -> tuple[float, float]:
    """Below and above the level."""
    level = one.level or 0.0
    if one.forecast is not None:
        return max(level - one.forecast.low, 0.0), max(one.forecast.high - level, 0.0)
    half = one.estimate.half_width if one.estimate and len(one.values) > 1 else None
    return half or 0.0, half or 0.0


def _points(facts: Facts, alike: Sequence[Configuration], knob: str, standing: Standing) -> Trace:
    spread = [_interval(one) for one in alike]
    hollow = standing is Standing.STOPPED
    return {
        "type": "scatter",
        "mode": "markers",
        "name": str(standing).partition(":")[0],
        "x": [scales.position(facts.domains[knob], one.params[knob]) for one in alike],
        "y": numbers(one.level for one in alike),
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": numbers(up for _, up in spread),
            "arrayminus": numbers(down for down, _ in spread),
            "thickness": 1,
            "width": 0,
        },
        "marker": {
            "color": COLOURS[standing],
            "size": 12 if standing is Standing.BEST else 8,
            "symbol": "circle-open" if hollow else "circle",
        },
        "opacity": 0.6 if hollow else 1,
        "text": [_hover(facts, one) for one in alike],
        "hovertemplate": "%{text}<extra></extra>",
        "customdata": [one.first for one in alike],
    }


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
        "text": [_hover(facts, point) for point in placed],
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

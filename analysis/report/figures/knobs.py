"""What the value hangs on: parallel coordinates, importance, and a slice for each knob."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.report.facts import Configuration, Facts, Standing
from analysis.report.figures import scales
from analysis.report.figures.figure import COLOURS, SCALE, Figure, Trace, View, axis, numbers, text
from analysis.report.importance import EVALUATOR, Importance
from harness.wording import knob_line, shortened

MOST = 1000  # configurations that are drawn: the best
_LABEL = 26  # characters beside an axis


def known(facts: Facts) -> list[Configuration]:
    return [one for one in facts.configurations if one.level is not None][:MOST]


def left_out(facts: Facts) -> str:
    more = sum(one.level is not None for one in facts.configurations) - MOST
    return f"The {more} weakest configurations are not drawn." if more > 0 else ""


def hover(facts: Facts, one: Configuration) -> str:
    trials = ", ".join(str(trial.number) for trial in one.trials)
    level = "" if one.level is None else f"{one.level:.4g}"
    return f"trial{'s' * (len(one.trials) > 1)} {trials}: {level} ({one.standing})<br>{text(knob_line(one.params, facts.names))}"


def parallel(facts: Facts) -> Figure | None:
    """None where fewer than two configurations have a value."""
    shown = known(facts)
    knobs = [
        knob for knob, domain in facts.domains.items() if any(scales.position(domain, one.params.get(knob)) is not None for one in shown)
    ]
    if len(shown) < 2 or not knobs:
        return None
    dimensions = []
    for knob in knobs:
        domain, values = facts.domains[knob], [one.params.get(knob) for one in shown]
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
    levels = numbers(one.level for one in shown)
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
        note=left_out(facts),
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
    shown, ranked = known(facts), {one.knob: place for place, one in enumerate(found)}
    views = []
    for knob in sorted(facts.domains, key=lambda knob: ranked.get(knob, len(ranked))):
        domain = facts.domains[knob]
        placed = [one for one in shown if scales.position(domain, one.params.get(knob)) is not None]
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
        note=left_out(facts),
        choice="knob",
        height=400,
    )


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
        "text": [hover(facts, one) for one in alike],
        "hovertemplate": "%{text}<extra></extra>",
        "customdata": [one.first for one in alike],
    }

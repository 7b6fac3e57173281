"""Learning curves with the band of their seeds, along whatever a training's progress can be counted in; and the health of the trainings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from analysis.report import axes
from analysis.report.axes import Axis
from analysis.report.facts import CURVES, Configuration, Facts, Standing
from analysis.report.figures.figure import COLOURS, Figure, Trace, View, axis, numbers, text
from analysis.report.series import Curve, shown_metrics, thinned
from harness.comparison import mean
from harness.trial_status import TrialStatus
from harness.types import Reason, TrialState
from harness.wording import knob_line

_HEALTHY = 24  # configurations in a health panel
_POINTS = 80


def learning(facts: Facts) -> Figure | None:
    """None where no trial has logged the objective."""
    drawn = [one for one in facts.configurations if any(trial.curve for trial in one.trials)]
    left_out, drawn = len(drawn) - CURVES, _some(drawn, CURVES)
    metric = facts.status.record.objectives[0].metric
    curves = {trial.number: _thin(trial) for one in drawn for trial in one.trials}
    views = [
        View(label=str(along), data=data, layout={"xaxis": axis(str(along)), "yaxis": axis(metric), "showlegend": False})
        for along in Axis
        if (data := _learning(facts, drawn, curves, along))
    ]
    if not views:
        return None
    return Figure(
        key="curves",
        title="Learning curves",
        reading=(
            "One line a configuration: the mean over its seeds, the band from its lowest seed to its highest. Blue is the recommended "
            "one, orange cannot be told from it, grey is behind; a cross ends a training that was stopped early. Choose what progress "
            "is counted in: who is ahead at equal steps need not be ahead at equal cost."
        ),
        views=tuple(views),
        note=f"{left_out} configurations are not drawn, evenly from all but the best." if left_out > 0 else "",
        choice="along",
        height=440,
    )


def health(facts: Facts) -> tuple[Figure, ...]:
    """One panel for each metric that tells whether a training is sound, of those that the study logs."""
    drawn = _some([one for one in facts.configurations if any(trial.number in facts.series for trial in one.trials)], _HEALTHY)
    figures = []
    for name, title in shown_metrics(facts.series.values()).items():
        traces = [
            _line(facts, one, thinned(points, _POINTS), f"trial {trial.number}", trial)
            for one in reversed(drawn)
            for trial in one.trials
            if trial.number in facts.series and (points := facts.series[trial.number].metrics.get(name))
        ]
        figures.append(
            Figure(
                key=f"health-{title.replace(' ', '-')}",
                title=title[0].upper() + title[1:],
                reading=f"{name}, one line a trial, in the colours of the learning curves.",
                views=(View(label="", data=traces, layout={"xaxis": axis("training step"), "yaxis": axis(name), "showlegend": False}),),
                height=280,
            )
        )
    return tuple(figures)


def _some(ranked: Sequence[Configuration], most: int) -> list[Configuration]:
    """The best half of what may be drawn, and evenly of the others."""
    if len(ranked) <= most:
        return list(ranked)
    best, rest = ranked[: most // 2], ranked[most // 2 :]
    wanted = most - len(best)
    return [*best, *(rest[index * len(rest) // wanted] for index in range(wanted))]


def _learning(facts: Facts, drawn: Sequence[Configuration], curves: Mapping[int, Curve], along: Axis) -> list[Trace]:
    traces: list[Trace] = []
    for one in reversed(drawn):  # the best lies on top
        by_seed = [(trial, points) for trial in one.trials if (points := axes.curve(facts, one, trial, along, curves[trial.number]))]
        whole = [points for trial, points in by_seed if trial.state is TrialState.COMPLETE]
        if len(whole) > 1:
            traces += _band(facts, one, whole)
        else:
            traces += [_line(facts, one, points, f"trial {trial.number}", trial) for trial, points in by_seed]
    return traces


def _thin(trial: TrialStatus) -> Curve:
    return thinned([(step, value) for step, value in trial.curve if math.isfinite(value)], _POINTS)


def _band(facts: Facts, one: Configuration, whole: Sequence[Curve]) -> list[Trace]:
    """Seeds that report at the same steps are averaged place by place, along any axis; the shortest ends the mean."""
    rows = list(zip(*whole, strict=False))
    places = [mean([at for at, _ in row]) for row in rows]
    low, high = ([pick(value for _, value in row) for row in rows] for pick in (min, max))
    colour = COLOURS[one.standing]
    return [
        {
            "type": "scatter",
            "x": numbers([*places, *reversed(places)]),
            "y": numbers([*high, *reversed(low)]),
            "fill": "toself",
            "fillcolor": colour,
            "opacity": 0.08 if one.standing is Standing.BEHIND else 0.18,
            "line": {"width": 0},
            "mode": "lines",
            "hoverinfo": "skip",
        },
        {
            **_style(facts, one, f"mean of {len(whole)} seeds, trials {', '.join(str(trial.number) for trial in one.trials)}"),
            "x": numbers(places),
            "y": numbers(mean([value for _, value in row]) for row in rows),
            "meta": {"trial": one.first},
        },
    ]


def _line(facts: Facts, one: Configuration, points: Curve, name: str, trial: TrialStatus) -> Trace:
    """With a cross at the end of one that was stopped."""
    last, stopped = len(points) - 1, trial.state is not TrialState.COMPLETE and trial.state.ended
    style = _style(facts, one, name + ("" if trial.reason in (None, Reason.FINISHED) else f" ({trial.reason})"))
    marker = {
        "symbol": "x-thin",
        "size": [7 if index == last and stopped else 0 for index in range(len(points))],
        "line": {"width": 1.5, "color": COLOURS[one.standing]},
    }
    lone = {"marker": {"size": 6, "color": COLOURS[one.standing]}} if len(points) == 1 and not stopped else {"marker": marker}
    return {
        **style,
        **lone,
        "mode": "lines+markers",
        "x": numbers(at for at, _ in points),
        "y": numbers(value for _, value in points),
        "meta": {"trial": trial.number},
    }


def _style(facts: Facts, one: Configuration, name: str) -> Trace:
    front = one.standing in (Standing.BEST, Standing.TIED, Standing.FRONT)
    shown = f"{text(name)}<br>{text(knob_line(one.params, facts.names))}"
    return {
        "type": "scatter",
        "mode": "lines",
        "name": text(name),
        "line": {"color": COLOURS[one.standing], "width": 2.5 if one.standing is Standing.BEST else 1.6 if front else 1},
        "opacity": 1 if front else 0.55,
        "hovertemplate": f"{shown}<br>%{{y:.4g}} at %{{x:.4~g}}<extra></extra>",
    }

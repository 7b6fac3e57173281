"""Several objectives at once: what no trial beats in all of them."""

from __future__ import annotations

import itertools

from analysis.report.facts import Facts, Standing
from analysis.report.figures.figure import COLOURS, STATE_COLOURS, Figure, Trace, View, axis, numbers, text
from harness.result import is_candidate
from harness.types import Direction, TrialState
from harness.wording import knob_line


def pareto(facts: Facts) -> Figure | None:
    """A view for each pair of objectives; None where there is only one."""
    objectives = facts.status.record.objectives
    known = [trial for trial in facts.status.trials if is_candidate(trial) and trial.values and len(trial.values) == len(objectives)]
    if len(objectives) < 2 or not known:
        return None
    front = set(facts.status.pareto)
    views = []
    for one, other in itertools.combinations(range(len(objectives)), 2):
        data: list[Trace] = []
        for on_front in (False, True):
            alike = sorted((trial for trial in known if (trial.number in front) is on_front), key=lambda trial: (trial.values or ())[one])
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers" if on_front and len(objectives) == 2 else "markers",
                    "name": "on the front" if on_front else "beaten in all",
                    "x": numbers((trial.values or ())[one] for trial in alike),
                    "y": numbers((trial.values or ())[other] for trial in alike),
                    "line": {"width": 1.5, "dash": "dot"},
                    "marker": {
                        "size": 10 if on_front else 7,
                        "color": COLOURS[Standing.BEST] if on_front else STATE_COLOURS[TrialState.WAITING],
                    },
                    "text": [f"trial {trial.number}<br>{text(knob_line(trial.params, facts.names))}" for trial in alike],
                    "hovertemplate": "%{text}<br>%{x:.4g}, %{y:.4g}<extra></extra>",
                    "customdata": [trial.number for trial in alike],
                }
            )
        x, y = objectives[one], objectives[other]
        views.append(
            View(
                label=f"{x.metric} x {y.metric}",
                data=data,
                layout={
                    "xaxis": axis(_better(x.metric, x.direction)),
                    "yaxis": axis(_better(y.metric, y.direction)),
                    "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
                    "margin": {"t": 44},
                },
            )
        )
    return Figure(
        key="pareto",
        title="The front of several objectives",
        reading="Each point is a complete trial; none beats those on the front in every objective. Which of them to take is a "
        "question of what is worth more, and no statistic answers it.",
        views=tuple(views),
        choice="objectives",
        height=420,
    )


def _better(metric: str, direction: Direction) -> str:
    return f"{metric} ({'higher' if direction is Direction.MAXIMIZE else 'lower'} is better)"

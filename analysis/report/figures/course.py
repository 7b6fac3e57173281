"""How the study went: the best so far against what was spent, who held which slot, and how trials ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from analysis.report.bill import Bill
from analysis.report.facts import Facts
from analysis.report.figures.figure import STATE_COLOURS, Figure, Trace, View, axis, numbers, text
from analysis.report.spans import Span
from harness.result import is_candidate
from harness.trial_status import TrialStatus
from harness.types import TrialState
from harness.wording import cause, duration, knob_line

_DOTS = 2000  # trials


def progress(facts: Facts, cost: Bill) -> Figure | None:
    """The values of trials in the order in which they ended, and the best of them so far."""
    ended = sorted((trial for trial in facts.status.trials if trial.ended_at is not None), key=lambda trial: trial.ended_at or 0.0)
    spent, spends = 0.0, []
    for trial in ended:
        spent += (trial.gpu_seconds if cost.unit == "GPU-hours" else trial.seconds or 0.0) / 3600
        spends.append(spent)
    complete = [(at, trial) for at, trial in zip(spends, ended, strict=True) if is_candidate(trial)]
    if not complete:
        return None
    best: list[tuple[float, float]] = []
    for at, trial in complete:
        value = (trial.values or (0.0,))[0]
        if not best or facts.sign * value > facts.sign * best[-1][1]:
            best.append((at, value))
    shown = complete[:: -(-len(complete) // _DOTS)]
    dots: Trace = {
        "type": "scatter",
        "mode": "markers",
        "x": numbers(at for at, _ in shown),
        "y": numbers((trial.values or (0.0,))[0] for _, trial in shown),
        "marker": {"size": 7, "color": STATE_COLOURS[TrialState.COMPLETE]},
        "text": [f"trial {trial.number}<br>{text(knob_line(trial.params, facts.names))}" for _, trial in shown],
        "hovertemplate": "%{text}<br>%{y:.4g}<extra></extra>",
        "customdata": [trial.number for _, trial in shown],
    }
    steps: Trace = {
        "type": "scatter",
        "mode": "lines",
        "x": numbers([*(at for at, _ in best), spends[-1]]),
        "y": numbers([*(value for _, value in best), best[-1][1]]),
        "line": {"shape": "hv", "width": 2, "color": "#0072b2"},
        "hoverinfo": "skip",
    }
    return Figure(
        key="progress",
        title="The best so far",
        reading=(
            "Each point is a trial that came to its end, where the study stood in cost when it did; the line is the best single value "
            "up to then. A line that has long been flat says that more of the same search brings little. The best single value is "
            "luckier than the mean that is recommended."
        ),
        views=(
            View(
                label="",
                data=[steps, dots],
                layout={"xaxis": axis(f"{cost.unit} spent", rangemode="tozero"), "yaxis": axis("value"), "showlegend": False},
            ),
        ),
        height=320,
    )


def timeline(facts: Facts) -> Figure | None:
    """Who held which slot."""
    spans = facts.spans
    if not spans:
        return None
    slots = sorted({span.slot for span in spans}, reverse=True)
    began = min(span.began_at for span in spans)
    whole = max(span.ended_at for span in spans) - began
    unit, seconds = ("hours", 3600.0) if whole > 7200 else ("minutes", 60.0) if whole > 120 else ("seconds", 1.0)
    trials = {trial.number: trial for trial in facts.status.trials}
    startup: Trace = {
        **_bars(spans, [span.startup_s / seconds for span in spans], [(span.began_at - began) / seconds for span in spans]),
        "name": "start-up",
        "marker": {"color": "#b9bdc4", "line": {"width": 0}},
        "hovertemplate": "start-up of trial %{customdata}<extra></extra>",
    }
    data = [startup]
    for state in TrialState:
        of = [span for span in spans if trials[span.trial].state is state]
        if of:
            data.append(
                {
                    **_bars(
                        of,
                        [(span.seconds - span.startup_s) / seconds for span in of],
                        [(span.began_at + span.startup_s - began) / seconds for span in of],
                    ),
                    "name": str(state),
                    "marker": {"color": STATE_COLOURS[state], "line": {"width": 0.5, "color": "#ffffff"}},
                    "text": [_words(facts, trials[span.trial], span) for span in of],
                    "textposition": "none",
                    "hovertemplate": "%{text}<extra></extra>",
                }
            )
    left_out = sum(trial.attempts for trial in facts.status.trials) - len(spans)
    layout = {
        "xaxis": axis(f"{unit} since the first trial"),
        "yaxis": {"type": "category", "categoryorder": "array", "categoryarray": [text(slot) for slot in slots]},
        "barmode": "overlay",
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        "margin": {"t": 44},
    }
    return Figure(
        key="timeline",
        title="Who held which slot",
        reading=(
            "One row a slot, one bar an attempt: grey while its engine started, then in the colour of how the trial ended. White is "
            "idle time; a paused trial has several bars."
        ),
        views=(View(label="", data=data, layout=layout),),
        note=f"The latest {len(spans)} attempts; {left_out} earlier ones are not drawn." if left_out > 0 else "",
        height=170 + 34 * len(slots),
    )


def states(facts: Facts) -> Figure | None:
    """How many trials ended how, and for which reason."""
    counted = Counter((trial.state, cause(trial.state, trial.reason)) for trial in facts.status.trials)
    if not counted:
        return None
    rows = sorted(counted.items(), key=lambda item: (list(TrialState).index(item[0][0]), -item[1]), reverse=True)
    bars: Trace = {
        "type": "bar",
        "orientation": "h",
        "x": [count for _, count in rows],
        "y": [text(words) for (_, words), _ in rows],
        "text": [str(count) for _, count in rows],
        "textposition": "auto",
        "marker": {"color": [STATE_COLOURS[state] for (state, _), _ in rows]},
        "hovertemplate": "%{y}: %{x} trials<extra></extra>",
    }
    return Figure(
        key="states",
        title="How trials ended",
        reading="Trials by state and, where it says more, the reason.",
        views=(
            View(
                label="",
                data=[bars],
                layout={"xaxis": axis("trials", rangemode="tozero"), "yaxis": {"type": "category"}, "showlegend": False},
            ),
        ),
        height=110 + 36 * len(rows),
    )


def _bars(spans: Sequence[Span], lengths: Sequence[float], bases: Sequence[float]) -> Trace:
    return {
        "type": "bar",
        "orientation": "h",
        "y": [text(span.slot) for span in spans],
        "x": numbers(lengths),
        "base": numbers(bases),
        "customdata": [span.trial for span in spans],
    }


def _words(facts: Facts, trial: TrialStatus, span: Span) -> str:
    attempt = f", attempt {span.attempt}" if span.attempt else ""
    took = f"{duration(span.seconds)} with {duration(span.startup_s)} start-up"
    title = f"trial {trial.number}{attempt}: {cause(trial.state, trial.reason)}, {took}"
    return f"{text(title)}<br>{text(knob_line(trial.params, facts.names))}"

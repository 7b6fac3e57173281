"""Writes a study's report into its folder: Markdown always, the page where its packages are, and on demand figures, tables, PDF."""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.report.markdown import markdown
from harness import records
from harness.errors import ConfigError
from harness.launchers import browser
from harness.status import StudyStatus
from harness.wording import definition, exact

NEEDED = ("jinja2", "plotly", "numpy", "optuna")
EXTRA = "pip install 'verl-sweep[report]'"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    figures: str = ""  # png or svg
    tables: str = ""  # csv
    pdf: bool = False


def write_report(status: StudyStatus, wishes: Wishes = Wishes()) -> list[Path]:
    """Over an older one; the page first, where there is one. Raises ConfigError where a wish cannot be granted, the rest being written."""
    status.paths.report.mkdir(exist_ok=True)
    if lacks():
        written = [_text(status.paths.report / "report.md", markdown(status))]
        if wishes != Wishes():
            raise ConfigError(f"figures, tables and PDF need more packages: {EXTRA}")
        return written
    from analysis.report.content import content
    from analysis.report.facts import read_facts
    from analysis.report.page import page

    made = content(read_facts(status))
    there = _text(status.paths.report / "report.html", page(made))
    written = [there, _text(status.paths.report / "report.md", markdown(status, made.doubts))]
    if wishes.tables:
        written += [_text(status.paths.report / f"{name}.csv", text) for name, text in _tables(made).items()]
    if wishes.figures:
        written += _figures(made, status.paths.report, wishes.figures)
    if wishes.pdf:
        written.append(browser.print_pdf(there, there.with_suffix(".pdf")))
    return written


def lacks() -> list[str]:
    """Packages of the extra that are not installed."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def _text(path: Path, text: str) -> Path:
    records.write_text(path, text)
    return path


def _tables(made: Any) -> dict[str, str]:
    """All trials and all configurations, with values to be computed with rather than read."""
    facts = made.facts
    knobs, objectives = list(facts.names), facts.status.record.objectives
    standing = {trial.number: one for one in facts.configurations for trial in one.trials}
    trials = [
        [
            trial.number,
            trial.state,
            trial.reason or "",
            standing[trial.number].name,
            trial.seed,
            trial.role,
            *_of(trial.params, knobs),
            *(trial.values or [""] * len(objectives)),
            trial.steps,
            trial.seconds,
            trial.startup_s,
            trial.gpu_seconds,
            trial.slot,
            trial.message,
        ]
        for trial in facts.status.trials
    ]
    configurations = [
        [
            one.name,
            one.standing,
            " ".join(str(trial.number) for trial in one.trials),
            *_of(one.params, knobs),
            len(one.values),
            one.level,
            one.estimate.mean if one.estimate else "",
            one.estimate.half_width if one.estimate else "",
            one.forecast.low if one.forecast else "",
            one.forecast.high if one.forecast else "",
        ]
        for one in facts.configurations
    ]
    values = [definition(objective) for objective in objectives]
    return {
        "trials": _csv(
            [
                "trial",
                "state",
                "reason",
                "configuration",
                "seed",
                "role",
                *knobs,
                *values,
                "steps",
                "seconds",
                "startup_s",
                "gpu_seconds",
                "slot",
                "message",
            ],
            trials,
        ),
        "configurations": _csv(
            ["configuration", "standing", "trials", *knobs, "seeds", "level", "mean", "half_width", "forecast_low", "forecast_high"],
            configurations,
        ),
    }


def _of(params: dict[str, Any], knobs: Sequence[str]) -> list[str]:
    return [exact(params[knob]) if knob in params else "" for knob in knobs]


def _csv(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A cell that a spreadsheet would take for a formula begins with an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(heads)
    for row in rows:
        writer.writerow([f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "@", "\t") else cell for cell in row])
    return text.getvalue()


def _figures(made: Any, folder: Path, kind: str) -> list[Path]:
    """One file for each view of each figure. Raises ConfigError where the package or a browser that draws them is missing."""
    if importlib.util.find_spec("kaleido") is None:
        raise ConfigError(f"--figures needs the package kaleido, which draws them in a browser: {EXTRA}")
    browser.find()
    from analysis.report.drawing import write_figures

    return write_figures(made.figures, folder / "figures", kind)

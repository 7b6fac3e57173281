"""Writes a study's report into its folder: Markdown always, the page where its packages are, and on demand figures, tables, PDF."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.report.markdown import markdown
from harness import records
from harness.errors import ConfigError
from harness.launchers import browser
from harness.status import StudyStatus

if TYPE_CHECKING:
    from analysis.report.content import Content

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
    from analysis.report.sheets import sheets

    made = content(read_facts(status))
    there = _text(status.paths.report / "report.html", page(made))
    written = [there, _text(status.paths.report / "report.md", markdown(status, made.doubts))]
    if wishes.tables:
        written += [_text(status.paths.report / f"{name}.csv", text) for name, text in sheets(made.facts).items()]
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


def _figures(made: Content, folder: Path, kind: str) -> list[Path]:
    """One file for each view of each figure. Raises ConfigError where the package or a browser that draws them is missing."""
    if importlib.util.find_spec("kaleido") is None:
        raise ConfigError(f"--figures needs the package kaleido, which draws them in a browser: {EXTRA}")
    browser.find()
    from analysis.report.drawing import write_figures

    return write_figures(made.figures, folder / "figures", kind)

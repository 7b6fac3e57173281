"""Has the report of a study written when it is over, and shows it; a study never fails for its report."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from harness.errors import ConfigError
from harness.launchers.program import run_program
from harness.paths import StudyPaths
from harness.terminal import show_page

TIMEOUT_S = 300.0


def write_and_show(study: StudyPaths, say: Callable[[str], None]) -> None:
    """In a process of its own, for it loads what the controller does without: numpy, plotly, Optuna's importance."""
    try:
        printed = run_program("analysis.cli", "report", "--no-browser", str(study.root), timeout_s=TIMEOUT_S)
    except ConfigError as error:
        say(f"no report: {error}")
        return
    page = study.report / Path(printed.splitlines()[0]).name
    if sys.stdout.isatty():
        show_page(page, browse=page.suffix == ".html")
    else:
        say(f"report: {page}")

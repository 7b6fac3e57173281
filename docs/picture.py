"""`make picture STUDY=demo`: the README's pictures of a study that ran: its closing block, and its report where there is a browser."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

from harness import screen
from harness.errors import ConfigError
from harness.launchers import browser
from harness.paths import StudyPaths
from harness.status import load_study

WIDTH = 118
PAGE = {"width": 1000, "height": 1640}  # pixels: from the answer to the learning curves


def draw(study: StudyPaths, to: Path) -> None:
    """Raises FileNotFoundError where there is no such study."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(screen.closing(load_study(study)))
    to.write_text(console.export_svg(title=f"verl-sweep -m experiment={study.name}", theme=MONOKAI), encoding="utf-8")


def photograph(study: StudyPaths, to: Path) -> None:
    """The beginning of the report. Raises ConfigError where there is no browser."""
    from playwright.sync_api import sync_playwright

    from analysis.report.write import write_report

    page, program = write_report(load_study(study))[0], browser.find()
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--enable-unsafe-swiftshader"])
        view = started.new_page(viewport=PAGE)
        view.goto(page.absolute().as_uri())
        view.wait_for_selector("body[data-drawn]")
        view.screenshot(path=to)


if __name__ == "__main__":
    chosen, here = StudyPaths(Path("outputs") / sys.argv[1]), Path(__file__).parent
    draw(chosen, here / "study.svg")
    try:
        photograph(chosen, here / "report.png")
    except ConfigError as error:
        print(f"no picture of the report: {error}", file=sys.stderr)

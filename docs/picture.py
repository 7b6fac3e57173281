"""`make picture STUDY=demo`: draws the closing block of a study that ran, from its records, as docs/study.svg for the README."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

from harness import screen
from harness.paths import StudyPaths
from harness.status import load_study

WIDTH = 118


def draw(study: StudyPaths, to: Path) -> None:
    """Raises FileNotFoundError where there is no such study."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(screen.closing(load_study(study)))
    to.write_text(console.export_svg(title=f"verl-sweep -m experiment={study.name}", theme=MONOKAI), encoding="utf-8")


if __name__ == "__main__":
    draw(StudyPaths(Path("outputs") / sys.argv[1]), Path(__file__).with_name("study.svg"))

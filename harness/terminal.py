"""The console that pages and tables are printed on, and the way to a page in a browser; loads rich when one is asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 140  # of tables that are not read on a terminal


def console() -> Console:
    """As wide as the terminal; wide enough to be read later where there is none (COLUMNS overrides both)."""
    from rich.console import Console

    made = Console(highlight=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = PIPE_WIDTH
    return made


def show_page(page: Path, *, browse: bool) -> None:
    """Prints its path, as a link where a terminal knows links; and opens it where whoever reads that has a display of their own."""
    if not sys.stdout.isatty():
        print(page)
        return
    from rich.text import Text

    console().print(Text(str(page), style=f"link {page.absolute().as_uri()}"), soft_wrap=True)
    if browse and has_display(os.environ, sys.platform):
        import webbrowser

        webbrowser.open(page.absolute().as_uri())


def has_display(environment: Mapping[str, str], platform: str) -> bool:
    """Whether a browser would open before the reader's eyes: not over ssh, where it would open elsewhere or crawl."""
    if "SSH_CONNECTION" in environment or environment.get("TERM") == "dumb":
        return False
    return platform == "darwin" or bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))

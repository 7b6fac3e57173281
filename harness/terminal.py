"""The console that pages and tables are printed on; loads rich when one is asked for."""

from __future__ import annotations

import os
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

"""Prints what the benchmarks found as tables that go into docs/benchmarks.md as they are."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence


def heading() -> None:
    """When and on what."""
    moment, (load, _, _) = time.strftime("%Y-%m-%d %H:%M"), os.getloadavg()
    print(f"{moment}, Python {platform.python_version()}, {os.cpu_count()} cores, load {load:.1f} before the first run\n", flush=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for cells in (columns, ["---"] * len(columns), *rows):
        print(f"| {' | '.join(cells)} |")
    print(flush=True)

"""How verl-study becomes a program of the other side of the house; refuses a namesake."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import NoReturn

from harness.errors import ConfigError


def become(module: str, *arguments: str) -> NoReturn:
    """A program of `sweeps`, which this side of the house never imports. Raises ConfigError where that name is another's."""
    ours, found = Path(__file__).parents[1] / "sweeps", importlib.util.find_spec("sweeps")
    if found is None or found.origin is None or Path(found.origin).parent.resolve() != ours.resolve():
        there = found.origin if found else "nowhere"
        raise ConfigError(f"the package `sweeps` is not this project's, it is {there}: pip uninstall sweeps, or leave that folder")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 (no shell, and nothing of ours is left to do)

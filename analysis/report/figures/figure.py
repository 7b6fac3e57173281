"""What a figure is, and how text and numbers go into one: plotly reads text as markup, and whatever a study holds must not be."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from analysis.report.facts import Standing
from harness.types import TrialState

Trace = dict[str, Any]
Layout = dict[str, Any]

# Told apart by those who see few colours, on a light and on a dark page (after Okabe and Ito).
COLOURS = {
    Standing.BEST: "#0072b2",
    Standing.TIED: "#e69f00",
    Standing.FRONT: "#e69f00",
    Standing.BEHIND: "#8a8f98",
    Standing.STOPPED: "#b58bc0",
    Standing.OPEN: "#b9bdc4",
}
STATE_COLOURS = {
    TrialState.COMPLETE: "#009e73",
    TrialState.PRUNED: "#e0a800",
    TrialState.FAIL: "#d55e00",
    TrialState.RUNNING: "#56b4e9",
    TrialState.WAITING: "#b9bdc4",
}
SCALE = [[0, "#3b6fb6"], [0.5, "#8f9a8c"], [1, "#f2b701"]]  # from low to high; neither end vanishes on a light or a dark page
_DIGITS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """One choice of a figure."""

    label: str
    data: list[Trace]
    layout: Layout


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """`key` is its name in links and files; with several views a reader chooses one."""

    key: str
    title: str
    reading: str  # what it shows, and how to read it
    views: tuple[View, ...]
    note: str = ""  # what was left out
    choice: str = ""  # what the views differ in
    height: int = 380  # pixels


def text(words: object) -> str:
    """As it stands, on one line: `<b>` is shown and not obeyed."""
    return " ".join(str(words).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())


def number(value: float | None) -> float | None:
    """Five digits, which no eye tells from more; None where there is nothing to draw."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{_DIGITS}g}")


def numbers(values: Iterable[float | None]) -> list[float | None]:
    return [number(value) for value in values]


def axis(title: str, **more: Any) -> Layout:
    return {"title": {"text": text(title)}, **more}

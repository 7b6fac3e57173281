"""Figures as image files, by plotly and kaleido, which has a browser draw them; black on white, for papers and slides."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from analysis.report.figures.figure import Figure

_WIDTH = 900
_SCALE = 2  # pixels of a PNG for each of these


def write_figures(figures: Sequence[Figure], folder: Path, kind: str) -> list[Path]:
    """`curves-training-step.png`: one for each view."""
    import plotly.graph_objects
    import plotly.io

    folder.mkdir(exist_ok=True)
    drawn, paths = [], []
    for figure in figures:
        for view in figure.views:
            layout = {**view.layout, "template": "plotly_white", "height": figure.height, "width": _WIDTH, "title": {"text": figure.title}}
            drawn.append(plotly.graph_objects.Figure(data=view.data, layout=layout))
            paths.append(folder / f"{_name(figure.key, view.label)}.{kind}")
    plotly.io.write_images(drawn, paths, format=kind, scale=_SCALE if kind == "png" else 1)
    return paths


def _name(key: str, label: str) -> str:
    """Letters, digits and dashes, whatever a knob is called."""
    return re.sub(r"[^A-Za-z0-9]+", "-", f"{key} {label}").strip("-")

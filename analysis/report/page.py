"""The report as one HTML file that needs no network: everything it shows is in it, and whatever a study holds is shown, never run."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import asdict
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from plotly.offline import get_plotlyjs

from analysis.report.content import Content
from analysis.report.figures.figure import COLOURS, STATE_COLOURS, Figure
from harness.wording import compact, duration, gain, summary_line


def page(content: Content) -> str:
    environment = Environment(
        loader=PackageLoader("analysis.report"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"compact": compact, "duration": duration}
    environment.globals["gain"] = gain
    return environment.get_template("page.html.j2").render(
        content=content,
        facts=content.facts,
        status=content.facts.status,
        record=content.facts.status.record,
        summary=summary_line(content.facts.status),
        made_at=time.strftime("%Y-%m-%d %H:%M", time.localtime(content.facts.status.at)),
        figures_json=embedded([drawn(figure) for figure in content.figures]),
        colours={str(standing): colour for standing, colour in COLOURS.items()},
        state_colours={str(state): colour for state, colour in STATE_COLOURS.items()},
        nonce=secrets.token_urlsafe(16),
        style=_file("page.css"),
        script=_file("page.js"),
        plotly=get_plotlyjs(),
    )


def drawn(figure: Figure) -> dict[str, Any]:
    """What the page's script needs of a figure."""
    return {"key": figure.key, "height": figure.height, "views": [asdict(view) for view in figure.views]}


def embedded(data: object) -> str:
    """JSON that may stand in a script element: no `<` is left that could end it."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _file(name: str) -> str:
    return (resources.files("analysis.report") / "templates" / name).read_text(encoding="utf-8")

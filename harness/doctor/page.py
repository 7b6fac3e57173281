"""The verdict on a screen, and for programs; builds rich renderables and plain data, and prints nothing."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.doctor.nouns import Line, Verdict
from harness.doctor.verdict import lacking

_STYLES = {Verdict.OK: "green", Verdict.NOTE: "yellow", Verdict.LACKS: "bold red"}


def page(title: str, groups: dict[str, tuple[Line, ...]]) -> RenderableType:
    """One table, so that the columns of all headings lie below each other."""
    table = Table(box=None, show_header=False, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for heading, lines in groups.items():
        if not lines:
            continue
        table.add_row(Text(heading, style="bold"))
        for line in lines:
            table.add_row(Text(f"  {line.verdict}", style=_STYLES[line.verdict]), Text(line.name), _words(line))
    return Group(Text(title, style="bold"), Text(), table, Text(), _sum(groups))


def as_data(title: str, groups: dict[str, tuple[Line, ...]]) -> dict[str, Any]:
    lines = [
        {"heading": heading, "name": line.name, "verdict": str(line.verdict), "what": line.what, "cure": line.cure}
        for heading, group in groups.items()
        for line in group
    ]
    return {"experiment": title, "can_run": not lacking(groups), "lines": lines}


def _words(line: Line) -> Text:
    return Text.assemble(line.what, (f"; {line.cure}" if line.cure else "", "dim" if line.verdict is Verdict.OK else ""))


def _sum(groups: dict[str, tuple[Line, ...]]) -> Text:
    missing = lacking(groups)
    if not missing:
        return Text("It can run here.", style="bold green")
    return Text(f"It cannot run here: {', '.join(dict.fromkeys(line.name for line in missing))}.", style="bold red")

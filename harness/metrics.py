"""Lines of verl's file logger to metric points; reads only what is new and waits for a line that is still being written.

verl writes `{"step": n, "data": {...}}` a line, several lines may share a step, and NaN becomes null. Whatever else is in the file is left
out, and counted: the file belongs to the training, and no line of it ends a study.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec

from harness.lines import LineReader
from harness.types import MetricPoint

_Step = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]  # what Optuna takes, and a database


class _Plain(msgspec.Struct):
    """Nearly every line: numbers and nothing else. Decoded without a look at each value, at four times the speed."""

    step: _Step
    data: dict[str, float]


class _Line(msgspec.Struct):
    step: _Step
    data: dict[str, object]


def parse(line: bytes) -> MetricPoint | None:
    """None where it is no line of verl's file logger; values that are no numbers are left out."""
    try:
        plain = _PLAIN.decode(line)
    except ValueError:
        return _parse_any(line)
    return MetricPoint(step=plain.step, values=plain.data)


def _parse_any(line: bytes) -> MetricPoint | None:
    try:
        record = _decoded(line)
    except (ValueError, RecursionError):  # not JSON, not UTF-8, not of this shape; nested beyond any sense
        return None
    values = {name: number for name, value in record.data.items() if (number := _number(value)) is not None}
    return MetricPoint(step=record.step, values=values)


@dataclass(slots=True)
class MetricReader:
    """Follows one attempt's metric file."""

    path: Path
    broken: int = 0  # lines that are no metric lines
    _lines: LineReader = field(init=False)

    def __post_init__(self) -> None:
        self._lines = LineReader(self.path)

    @property
    def left_out(self) -> int:
        """Lines that could not be read."""
        return self.broken + self._lines.too_long

    def new_points(self) -> Iterator[MetricPoint]:
        """The points behind the last call's, in file order; none while there is no file. To be taken to the end."""
        for line in self._lines.new_lines():
            point = parse(line)
            if point is None:
                self.broken += 1
            else:
                yield point


def _decoded(line: bytes) -> _Line:
    try:
        return _DECODER.decode(line)
    except msgspec.DecodeError:  # NaN, infinities and 1e999, which Python's own json writes and reads
        record = msgspec.convert(json.loads(line.decode()), _Line)
        "".join(record.data).encode()  # half a character, in a name: nobody could write that down
        return record


def _number(value: object) -> float | None:
    if value is None:
        return math.nan
    if not isinstance(value, bool | int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


_PLAIN = msgspec.json.Decoder(_Plain)
_DECODER = msgspec.json.Decoder(_Line)

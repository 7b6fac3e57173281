"""Lines of verl's file logger to metric points; reads only what is new and waits for a line that is still being written.

verl writes `{"step": n, "data": {...}}` a line, several lines may share a step, and NaN becomes null.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness.errors import RecordError
from harness.records import whole_lines
from harness.types import MetricPoint


class _Line(msgspec.Struct):
    step: int
    data: dict[str, object]


def parse(line: bytes) -> MetricPoint:
    """Raises msgspec.DecodeError on anything but a line of verl's file logger; values that are no numbers are left out."""
    record = _DECODER.decode(line)
    values = {name: number for name, value in record.data.items() if (number := _number(value)) is not None}
    return MetricPoint(step=record.step, values=values)


@dataclass(slots=True)
class MetricReader:
    """Follows one attempt's metric file."""

    path: Path
    offset: int = 0

    def new_points(self) -> list[MetricPoint]:
        """The points behind the last call's, in file order; none while there is no file. Raises RecordError on a broken line."""
        lines, self.offset = whole_lines(self.path, self.offset)
        try:
            return [parse(line) for line in lines]
        except msgspec.DecodeError as error:
            raise RecordError(f"not a line of verl's file logger: {error}", path=self.path) from error


def _number(value: object) -> float | None:
    if value is None:
        return math.nan
    if isinstance(value, bool | int | float):
        return float(value)
    return None


_DECODER = msgspec.json.Decoder(_Line)

"""Follows a file of lines that somebody else writes: every whole line once, whatever the file holds, in bounded memory.

A line that is still being written waits. One that is longer than any record is left out and counted. A file that was truncated, or that
another one has replaced, is read from its beginning.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LINE_BYTES = 2**20  # a metric line of verl's has 5 KiB


@dataclass(slots=True)
class Place:
    """How far a file was read, and which file that was."""

    offset: int = 0
    _file: tuple[int, int] | None = None  # device and inode

    def find(self, stat: os.stat_result) -> bool:
        """Whether this is the file of before, at least as long as it was read; else the place is the beginning of this one."""
        file = (stat.st_dev, stat.st_ino)
        same = self._file in (None, file) and stat.st_size >= self.offset
        if not same:
            self.offset = 0
        self._file = file
        return same


@dataclass(slots=True)
class LineReader:
    """Follows one file."""

    path: Path
    too_long: int = 0  # lines that were left out
    _place: Place = field(default_factory=Place)
    _within: bool = False  # a line that is too long

    def new_lines(self) -> Iterator[bytes]:
        """The lines behind the last call's up to where the file ends now, blank ones left out; none while there is no file.

        Whoever does not take all of them loses up to LINE_BYTES.
        """
        try:
            log = self.path.open("rb", buffering=0)
        except FileNotFoundError:
            return
        with log:
            stat = os.fstat(log.fileno())
            if not self._place.find(stat):
                self._within = False
            log.seek(self._place.offset)
            while data := log.read(min(LINE_BYTES, stat.st_size - self._place.offset)):
                before = self._place.offset
                yield from (line for line in self._whole(data).splitlines() if line.strip())
                if self._place.offset == before:
                    return  # its last line is still being written
                log.seek(self._place.offset)

    def _whole(self, data: bytes) -> bytes:
        """The whole lines of what was read; moves on behind them, or behind all of it within a line that is too long."""
        start = data.find(b"\n") + 1 if self._within else 0
        end = data.rfind(b"\n") + 1
        if not end and (self._within or len(data) >= LINE_BYTES):
            self.too_long += not self._within
            self._within = True
            self._place.offset += len(data)
            return b""
        self._within = self._within and not end
        self._place.offset += end
        return data[start:end]

"""A stream of bytes as parts of a given size with checksums, and back; standard library only. Refuses parts that are missing or changed."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_CHUNK = 2**20


class BrokenBundle(Exception):
    """A part is not there, or is not what was written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    name: str
    size: int  # bytes
    sha256: str


class PartWriter(io.RawIOBase):
    """Takes a stream; `parts` is complete once it is closed."""

    def __init__(self, folder: Path, stem: str, part_bytes: int) -> None:
        super().__init__()
        self.parts: list[Part] = []
        self._folder, self._stem, self._most = folder, stem, part_bytes
        self._file: BinaryIO | None = None
        self._size, self._hash = 0, hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        left = memoryview(data).cast("B")  # type: ignore[arg-type] # any buffer, as RawIOBase has it
        whole = len(left)
        while left:
            if self._file is None:
                self._file = (self._folder / self._name()).open("xb")
            piece = left[: self._most - self._size]
            self._file.write(piece)
            self._hash.update(piece)
            self._size += len(piece)
            left = left[len(piece) :]
            if self._size == self._most:
                self._finish()
        return whole

    def close(self) -> None:
        if self._file is not None:
            self._finish()
        super().close()

    def _finish(self) -> None:
        assert self._file is not None
        self._file.close()
        self.parts.append(Part(name=self._name(), size=self._size, sha256=self._hash.hexdigest()))
        self._file, self._size, self._hash = None, 0, hashlib.sha256()

    def _name(self) -> str:
        return f"{self._stem}.{len(self.parts):03d}"


def verify(folder: Path, parts: Sequence[Part]) -> None:
    """Raises BrokenBundle for the first part that is missing or not what was written."""
    for part in parts:
        path = folder / part.name
        if not path.is_file():
            raise BrokenBundle(f"{path} is not there: copy all {len(parts)} parts of the bundle")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != part.sha256:
            raise BrokenBundle(f"{path} is not what was written, its sha256 differs: copy it again")


class PartReader(io.RawIOBase):
    """Gives the stream back."""

    def __init__(self, folder: Path, parts: Sequence[Part]) -> None:
        super().__init__()
        self._chunks = _chunks(folder, parts)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        room = memoryview(buffer).cast("B")  # type: ignore[arg-type] # any buffer, as RawIOBase has it
        self._left = self._left or memoryview(next(self._chunks, b""))
        count = min(len(room), len(self._left))
        room[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


def _chunks(folder: Path, parts: Sequence[Part]) -> Iterator[bytes]:
    for part in parts:
        with (folder / part.name).open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk

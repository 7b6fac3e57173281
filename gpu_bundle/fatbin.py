"""Blanks the device code of other chips in a CUDA library, layout kept, so that it compresses to nothing; pure.

A fat binary is a header (magic 0xBA55ED50, version 1, 16 bytes, size of what follows) and entries, each with a header of its own length and
a payload: a cubin for one compute capability, or PTX that the driver compiles for newer ones. The layout is what CUDA 13's own libraries
show; the format is not published. Whatever does not look so is left as it is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MAGIC = b"\x50\xed\x55\xba"
PTX, CUBIN = 1, 2
_HEADER = struct.Struct("<4sHHQ")  # magic, version, bytes of this header, bytes of all entries
_ENTRY = struct.Struct("<HHIQ")  # kind, version, bytes of this header, bytes of the payload
_CAPABILITY_AT, _LONGEST_HEADER = 28, 4096


@dataclass(frozen=True, slots=True)
class Code:
    """One entry's payload: image[start : start + size]."""

    kind: int
    capability: int  # 90 is 9.0
    start: int
    size: int


def blank_others(image: bytearray, capability: int) -> int:
    """Zeroes, in place, what a chip of this compute capability will not load; returns the bytes blanked."""
    blanked = 0
    for codes in fat_binaries(image):
        kept = needed(codes, capability)
        for code in codes:
            if code not in kept:
                image[code.start : code.start + code.size] = bytes(code.size)
                blanked += code.size
    return blanked


def needed(codes: tuple[Code, ...], capability: int) -> tuple[Code, ...]:
    """The chip's own cubins, else the newest PTX that can be compiled for it, else all: what is not understood stays."""
    own = tuple(code for code in codes if (code.kind, code.capability) == (CUBIN, capability))
    older = [code for code in codes if code.kind == PTX and code.capability <= capability]
    return own or ((max(older, key=lambda code: code.capability),) if older else codes)


def fat_binaries(image: bytes | bytearray) -> Iterator[tuple[Code, ...]]:
    """The entries of each fat binary, in the order in which they lie."""
    place = image.find(MAGIC)
    while place >= 0:
        end = _end(image, place)
        if end is not None and (codes := _codes(image, place + _HEADER.size, end)):
            yield codes
        place = image.find(MAGIC, end or place + len(MAGIC))


def _end(image: bytes | bytearray, place: int) -> int | None:
    """Where the fat binary that begins here ends; None where it is only four bytes that look like one."""
    if place + _HEADER.size > len(image):
        return None
    _, version, header, size = _HEADER.unpack_from(image, place)
    end: int = place + _HEADER.size + size
    return end if (version, header) == (1, _HEADER.size) and end <= len(image) else None


def _codes(image: bytes | bytearray, place: int, end: int) -> tuple[Code, ...]:
    """Empty where an entry does not look like one."""
    found = []
    while place < end:
        if place + _CAPABILITY_AT + 4 > end:
            return ()
        kind, _, header, size = _ENTRY.unpack_from(image, place)
        if not _CAPABILITY_AT + 4 <= header <= _LONGEST_HEADER or place + header + size > end:
            return ()
        (capability,) = struct.unpack_from("<I", image, place + _CAPABILITY_AT)
        found.append(Code(kind, capability, place + header, size))
        place += header + size
    return tuple(found)

"""Reads and writes the project's records: typed, versioned, whole or not at all; refuses what is torn or of another schema.

A record is a JSON (or, where people read it, YAML) object of its dataclass's fields plus `schema` and `record`.
Logs of events and metrics are JSON lines: appended with one write, so that several processes may append to one file.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from harness.errors import RecordError
from harness.lines import LineReader
from harness.types import Event

SCHEMA = 1
_END = b"...\n"  # of a YAML document; without it one that was torn between two lines would look whole
T = TypeVar("T")


def encode(record: object) -> bytes:
    """The record as indented JSON."""
    fields = msgspec.to_builtins({"schema": SCHEMA, "record": type(record).__name__, **asdict(record)})  # type: ignore[call-overload]
    return msgspec.json.format(msgspec.json.encode(fields), indent=2) + b"\n"


def encode_yaml(record: object) -> bytes:
    fields = msgspec.to_builtins({"schema": SCHEMA, "record": type(record).__name__, **asdict(record)})  # type: ignore[call-overload]
    return _yaml(fields) + _END


def write(path: Path, record: object) -> None:
    """Writes a new record; raises FileExistsError rather than replace one."""
    _place(path, encode_yaml(record) if path.suffix == ".yaml" else encode(record), replace=False)


def replace(path: Path, record: object) -> None:
    """Writes a record whose content may change (a study's, a lease)."""
    _place(path, encode_yaml(record) if path.suffix == ".yaml" else encode(record), replace=True)


def write_text(path: Path, text: str) -> None:
    """Writes a file of text whole, over an older one."""
    _place(path, text.encode(), replace=True)


def write_yaml(path: Path, data: object) -> None:
    """Writes plain data for people to read, over an older file."""
    _place(path, _yaml(data), replace=True)


def read(path: Path, kind: type[T]) -> T:
    """Raises FileNotFoundError, or RecordError where the file is no such record."""
    data = path.read_bytes()
    try:
        fields = yaml.load(data, Loader=_Loader) if path.suffix == ".yaml" else msgspec.json.decode(data)  # noqa: S506 (a safe loader)
    except (msgspec.DecodeError, yaml.YAMLError) as error:
        raise RecordError(f"not readable: {' '.join(str(error).split())}", path=path) from error
    version = fields.get("schema") if isinstance(fields, dict) else None
    if version != SCHEMA or fields.get("record") != kind.__name__:
        raise RecordError(f"expected {kind.__name__} of schema {SCHEMA}, found {_title(fields)}", path=path, version=version)
    if path.suffix == ".yaml" and not data.endswith(_END):
        raise RecordError("torn: its end is missing", path=path)
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise RecordError(f"not a {kind.__name__}: {error}", path=path, version=version) from error


def read_if_there(path: Path, kind: type[T]) -> T | None:
    """None where there is no file."""
    try:
        return read(path, kind)
    except FileNotFoundError:
        return None


def append(path: Path, who: str, name: str, **data: Any) -> Event:
    """Appends an event, with this moment's time, in one write."""
    event = Event(at=time.time(), who=who, name=name, data=data)
    with path.open("ab+", buffering=0) as log:
        log.write(_line_end(log) + msgspec.json.encode(event) + b"\n")
    return event


def _line_end(log: FileIO) -> bytes:
    """A line that a full disk or a crash tore is ended first: it would take the next one along."""
    end = log.seek(0, os.SEEK_END)
    if end == 0:
        return b""
    log.seek(end - 1)
    return b"" if log.read(1) == b"\n" else b"\n"


def events(path: Path) -> Iterator[Event]:
    """Every event of the log that can be read, oldest first; a missing log is an empty one."""
    return new_events(LineReader(path))


def new_events(log: LineReader) -> Iterator[Event]:
    """Those behind the last call's. What a full disk or a crash tore is left out: an attempt does not end for a line about it."""
    for line in log.new_lines():
        with contextlib.suppress(ValueError, RecursionError):
            yield _EVENT.decode(line)


def _place(path: Path, data: bytes, *, replace: bool) -> None:
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            beside.replace(path)
        else:
            os.link(beside, path)  # fails where the name is taken, unlike a rename
    finally:
        beside.unlink(missing_ok=True)


def _yaml(data: object) -> bytes:
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=140, allow_unicode=True)
    return text.encode()


def _title(fields: object) -> str:
    if not isinstance(fields, dict):
        return type(fields).__name__
    return f"{fields.get('record', 'no record')} of schema {fields.get('schema')}"


_EVENT = msgspec.json.Decoder(Event)
# libyaml is ten times faster than the Python loader on verl's thousand-line tree, but not in every build of PyYAML.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

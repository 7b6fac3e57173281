"""`python -m harness.inside.prepare policy|task <maker> <folder>`: makes an asset, whole or not at all; leaves one that is there alone."""

from __future__ import annotations

import importlib
import secrets
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from harness.errors import EXIT_BAD_INPUT, ConfigError

MODULES = {"policy": "harness.inside.policies", "task": "harness.inside.tasks"}


def main(arguments: list[str]) -> int:
    if len(arguments) != 3 or arguments[0] not in MODULES:
        print(__doc__, file=sys.stderr)
        return EXIT_BAD_INPUT
    kind, maker, folder = arguments
    try:
        prepare(kind, maker, Path(folder))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


def prepare(kind: str, maker: str, folder: Path) -> bool:
    """Whether it was made now. Raises ConfigError for a maker that does not exist or cannot work here."""
    if folder.exists():
        return False
    make = maker_of(kind, maker)
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    beside.mkdir()
    try:
        make(beside)
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return True


def maker_of(kind: str, name: str) -> Callable[[Path], None]:
    makers: dict[str, Callable[[Path], None]] = importlib.import_module(MODULES[kind]).MAKERS  # seconds: torch
    if name not in makers:
        raise ConfigError(f"{kind}.make: expected one of {', '.join(sorted(makers))}, got {name!r}")
    return makers[name]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

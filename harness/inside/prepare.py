"""`python -m harness.inside.prepare policy|task <maker> <folder> [<options as JSON>]`: makes an asset, whole or not at all.

One that is there is left alone.
"""

from __future__ import annotations

import importlib
import json
import secrets
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harness.errors import EXIT_BAD_INPUT, ConfigError
from harness.paths import MADE_FROM

MODULES = {"policy": "harness.inside.policies", "task": "harness.inside.tasks"}


def main(arguments: list[str]) -> int:
    if len(arguments) not in (3, 4) or arguments[0] not in MODULES:
        print(__doc__, file=sys.stderr)
        return EXIT_BAD_INPUT
    kind, maker, folder = arguments[:3]
    try:
        prepare(kind, maker, Path(folder), json.loads(arguments[3]) if arguments[3:] else {})
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


def prepare(kind: str, maker: str, folder: Path, options: Mapping[str, Any] = MappingProxyType({})) -> bool:
    """Whether it was made now. Raises ConfigError for a maker that does not exist or cannot work here."""
    if folder.exists():
        return False
    make = maker_of(kind, maker)
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    beside.mkdir()
    try:
        make(beside, **options)
        if options:
            (beside / MADE_FROM).write_text(json.dumps(dict(options)))
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return True


def maker_of(kind: str, name: str) -> Callable[..., None]:
    """A function of the empty folder, and of the asset's options where it has any."""
    makers: dict[str, Callable[..., None]] = importlib.import_module(MODULES[kind]).MAKERS  # seconds: torch
    if name not in makers:
        raise ConfigError(f"{kind}.make: expected one of {', '.join(sorted(makers))}, got {name!r}")
    return makers[name]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

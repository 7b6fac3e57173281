"""Policies and data that are made on the spot: finds what is missing, and has it made in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from harness.errors import ConfigError
from harness.launchers.program import run_program
from harness.paths import MADE_FROM
from sweeps.config import Asset

MODULE = "harness.inside.prepare"


def missing(assets: Sequence[Asset]) -> list[Asset]:
    """Raises ConfigError where something lies in an asset's place that was made from other options."""
    for asset in assets:
        if asset.folder.exists() and asset.options:
            _refuse_other(asset)
    return [asset for asset in assets if not asset.folder.exists()]


def _refuse_other(asset: Asset) -> None:
    try:
        there = json.loads((asset.folder / MADE_FROM).read_text())
    except (OSError, ValueError):
        there = None
    if there != asset.options:
        raise ConfigError(
            f"{asset.kind}.folder: {asset.folder} was made from {there}, and {dict(asset.options)} is asked for; "
            f"set {asset.kind}.folder to another name, or remove that folder"
        )


def make(assets: Sequence[Asset], say: Callable[[str], None]) -> None:
    """Makes what is missing, whole or not at all. Raises ConfigError with the maker's own sentence."""
    for asset in missing(assets):
        say(f"making {asset.kind} {asset.maker} in {asset.folder} ...")
        run_program(MODULE, asset.kind, asset.maker, str(asset.folder), json.dumps(asset.options))

"""Policies and data that are made on the spot: finds what is missing, and has it made in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.launchers.program import run_program
from sweeps.config import Asset

MODULE = "harness.inside.prepare"


def missing(assets: Sequence[Asset]) -> list[Asset]:
    return [asset for asset in assets if not asset.folder.exists()]


def make(assets: Sequence[Asset], say: Callable[[str], None]) -> None:
    """Makes what is missing, whole or not at all. Raises ConfigError with the maker's own sentence."""
    for asset in missing(assets):
        say(f"making {asset.kind} {asset.maker} in {asset.folder} ...")
        run_program(MODULE, asset.kind, asset.maker, str(asset.folder))

"""The configuration that no override touches, for messages that name what exists."""

from __future__ import annotations

from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from sweeps.compose import known_keys

# By its place and not by its name: a project of the user's may well have a folder `conf` of its own on the path.
CONF = Path(__file__).resolve().parents[1] / "conf"


def base_keys() -> tuple[str, ...]:
    """Every dotted key of the default configuration."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return known_keys(compose("config"))

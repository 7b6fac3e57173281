"""The configuration that no override touches, for messages that name what exists."""

from __future__ import annotations

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from sweeps.compose import known_keys


def base_keys() -> tuple[str, ...]:
    """Every dotted key of the default configuration."""
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        return known_keys(compose("config"))

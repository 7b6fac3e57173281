"""Fixtures for every test; its presence also puts this folder on the path, for factory.py and commands.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def fresh_hydra(hydra_restore_singletons: None) -> Iterator[None]:
    """Hydra starts at most once in a process unless its global state is cleared, and remembers the version it was started with."""
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    yield
    GlobalHydra.instance().clear()

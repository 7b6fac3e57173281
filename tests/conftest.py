"""Fixtures for every test; its presence also puts this folder on the path, for factory.py and commands.py."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest


def pytest_configure() -> None:
    """A shell's background job ignores Ctrl-C and so would its children, ours that are to be interrupted among them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def fresh_hydra(hydra_restore_singletons: None) -> Iterator[None]:
    """Hydra starts at most once in a process unless its global state is cleared, and remembers the version it was started with."""
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    yield
    GlobalHydra.instance().clear()

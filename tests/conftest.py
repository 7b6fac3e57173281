"""Fixtures for every test; its presence also puts this folder on the path, for factory.py and commands.py."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Iterator, Sequence

import pytest

from harness import gpus


def pytest_configure() -> None:
    """A shell's background job ignores Ctrl-C and so would its children, ours that are to be interrupted among them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """A host that cannot run them skips the tests marked `gpu`, and says why; the driver is asked only where there are any."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and (lack := _lack()):
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=lack))


def _lack() -> str | None:
    if not gpus.visible():
        return "no GPU is visible: neither does nvidia-smi list any, nor does CUDA_VISIBLE_DEVICES"
    missing = [name for name in ("torch", "vllm", "verl") if importlib.util.find_spec(name) is None]
    return f"the extra gpu is not installed: there is no {missing[0]} (verl-study doctor tells more)" if missing else None


@pytest.fixture
def fresh_hydra(hydra_restore_singletons: None) -> Iterator[None]:
    """Hydra starts at most once in a process unless its global state is cleared, and remembers the version it was started with."""
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    yield
    GlobalHydra.instance().clear()

"""Weights are read into the kernel's page cache without anybody waiting for them."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from pathlib import Path

import pytest

from harness.inside.page_cache import read_ahead, weights

MIB = 2**20


def resident(path: Path) -> int:
    """Pages of a file that are in memory (mincore(2))."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        pages = -(-len(mapped) // mmap.PAGESIZE)
        told, start = (ctypes.c_ubyte * pages)(), ctypes.c_char.from_buffer(mapped)
        failed = ctypes.CDLL(None, use_errno=True).mincore(ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(len(mapped)), told)
        del start
        assert failed == 0
        return sum(page & 1 for page in told)


def test_weights_are_in_memory_soon_after_they_were_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "model-00001.safetensors"
    path.write_bytes(os.urandom(32 * MIB))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    whole = 32 * MIB // mmap.PAGESIZE
    if resident(path) > whole // 10:
        pytest.skip("this file system keeps what it is told to forget")
    assert read_ahead(str(tmp_path)) == 0, "not worth it"
    assert resident(path) < whole
    assert read_ahead(str(tmp_path), worth_mib=32) == 32
    deadline = time.monotonic() + 30
    while resident(path) < whole:
        assert time.monotonic() < deadline, f"{resident(path)} of {whole} pages"
        time.sleep(0.05)


def test_a_models_files_are_found_in_a_folder_and_in_the_hubs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    snapshot = tmp_path / "hub" / "models--org--model" / "snapshots" / "0a1b"
    snapshot.mkdir(parents=True)
    for name in ("config.json", "model-00002.safetensors", "model-00001.safetensors"):
        (snapshot / name).write_bytes(b"x")
    assert [path.name for path in weights("org/model")] == ["model-00001.safetensors", "model-00002.safetensors"]
    assert list(weights(str(snapshot))) == list(weights("org/model"))
    assert list(weights("org/other")) == []
    assert read_ahead(str(tmp_path / "nowhere")) == 0

"""Has a model's weights read into the kernel's page cache while the engine still imports; refuses nothing, and waits for nothing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness import processes

SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf")


WORTH_MIB = 64  # less is read in no time
CHUNK = 2**24


def read_ahead(model: str, worth_mib: int = WORTH_MIB) -> int:
    """MiB that are being read: none of a small model, or of one that would push out what memory holds.

    `model` is a folder, or the name of one that the hub's cache on this host may hold.
    """
    files = list(weights(model))
    size = sum(path.stat().st_size for path in files) // 2**20
    if not worth_mib <= size <= processes.available_mib() // 2:
        return 0
    _in_background(files)
    return size


def _in_background(files: Sequence[Path]) -> None:
    """In a grandchild, for whoever opens a nursery has no threads; posix_fadvise(2) reads some MiB of a file and forgets the rest."""
    child = os.fork()
    if child == 0:
        try:
            if os.fork() == 0:
                for path in files:
                    with contextlib.suppress(OSError), path.open("rb", buffering=0) as file:
                        while file.read(CHUNK):
                            pass
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def weights(model: str) -> Iterator[Path]:
    """The files of a model that hold its weights."""
    folder = Path(model).expanduser()
    if not folder.is_dir():
        folder = _newest(_hub_cache() / f"models--{model.replace('/', '--')}" / "snapshots") or folder
    if folder.is_dir():
        yield from sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)


def _hub_cache() -> Path:
    """Where huggingface_hub keeps what it has loaded (its environment variables HF_HUB_CACHE and HF_HOME)."""
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")


def _newest(folder: Path) -> Path | None:
    return max(folder.iterdir(), key=lambda path: path.stat().st_mtime, default=None) if folder.is_dir() else None

"""Starts the processes that tell a tracker of trials: one that outlives its starter, or one whose lines are waited for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

_started: list[subprocess.Popen[bytes]] = []  # one that is forgotten before it ends stays a zombie


def start(module: str, *arguments: str, log: Path) -> None:
    """Nobody waits for it. What it says goes to `log`."""
    _started[:] = [process for process in _started if process.poll() is None]
    with log.open("ab") as file:
        argv = [sys.executable, "-m", module, *arguments]
        _started.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True))


def lines(module: str, *arguments: str, quiet: bool = False) -> Iterator[str]:
    """What it prints, line by line, until it ends; it is ended when nobody listens any more.

    What it complains of goes where ours goes, or nowhere where it is to be `quiet`.
    """
    argv, complaints = [sys.executable, "-m", module, *arguments], subprocess.DEVNULL if quiet else None
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, text=True) as process:
        assert process.stdout is not None
        try:
            yield from process.stdout
        finally:
            process.terminate()


def leave(status: int) -> NoReturn:
    """Ends such a process: wandb's own ending waits for its service."""
    sys.stdout.flush()
    os._exit(status)

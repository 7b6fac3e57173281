"""`python dying_controller.py K FILE ARGUMENTS`: verl-sweep, killed just before its K-th change: of a file, a folder, or a process started.

Every moment between two changes is just before one. With K = 0 it lives, and writes into FILE what its changes were, one line each.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import records
from sweeps import app
from sweeps.journal import JournalFile

changes: list[str] = []


def dying(name: str, change: Callable[..., Any], last: int) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        changes.append(f"{name} {next((Path(str(part)).name for part in args if isinstance(part, str | Path)), '')}")
        if len(changes) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return change(*args, **kwargs)

    return wrapper


def main(last: int, told: Path) -> None:
    for owner, name in (
        (records, "_place"),
        (records, "append"),
        (Path, "mkdir"),
        (Path, "touch"),
        (JournalFile, "append_logs"),
        (subprocess.Popen, "__init__"),
    ):
        setattr(owner, name, dying(name, getattr(owner, name), last))
    try:
        app.main()
    finally:
        told.write_text("\n".join(changes))


if __name__ == "__main__":
    number, file = int(sys.argv[1]), Path(sys.argv[2])
    sys.argv = ["verl-sweep", *sys.argv[3:]]
    main(number, file)

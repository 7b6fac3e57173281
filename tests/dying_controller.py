"""`python dying_controller.py K FILE ARGUMENTS`: verl-sweep, killed just before its K-th change: of file, folder, database or process.

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


def dying_over_sql(last: int) -> None:
    """A commit of what was written is a change, too; those of what was only read are none."""
    from sqlalchemy import event
    from sqlalchemy.engine import Connection, Engine

    @event.listens_for(Engine, "before_cursor_execute")
    def note(connection: Connection, cursor: object, statement: str, *rest: object) -> None:
        word = statement.split(None, 1)[0].upper()
        if word in ("INSERT", "UPDATE", "DELETE", "CREATE"):
            connection.info["change"] = " ".join(statement.split()[:3])

    @event.listens_for(Engine, "commit")
    def commit(connection: Connection) -> None:
        if "change" in connection.info:
            dying("commit", lambda _: None, last)(connection.info.pop("change"))


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
    if any("hydra.sweeper.storage=" in word for word in sys.argv):
        dying_over_sql(last)
    try:
        app.main()
    finally:
        told.write_text("\n".join(changes))


if __name__ == "__main__":
    number, file = int(sys.argv[1]), Path(sys.argv[2])
    sys.argv = ["verl-sweep", *sys.argv[3:]]
    main(number, file)

"""Shows a running study to whoever started it: a live table in a terminal, plain lines elsewhere; reads the same records as verl-study."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.live import Live

from harness import screen, wording
from harness.paths import StudyPaths
from harness.status import StudyStatus, StudyWatch
from sweeps.runner import Outcome, Proposal

_REFRESH_S = 0.5


class Spectator:
    """A `sweeps.loop.Audience` that looks for itself, at its own pace."""

    def __init__(self, paths: StudyPaths) -> None:
        self._paths = paths
        self._console = Console()
        self._watch = StudyWatch(paths)
        self._seen: StudyStatus | None = None
        self._live = Live(console=self._console, auto_refresh=False, transient=True) if sys.stdout.isatty() else None
        self._looked = 0.0

    def __enter__(self) -> Spectator:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def started(self, proposal: Proposal) -> None:
        """Seen on disk at the next look."""

    def ended(self, number: int, outcome: Outcome) -> None:
        """Seen on disk at the next look."""

    def tick(self) -> None:
        if time.monotonic() - self._looked > _REFRESH_S:
            self.look()

    def look(self) -> StudyStatus:
        """Reads the records, and shows what they say now."""
        before, self._seen = self._seen, self._watch.refresh()
        self._looked = time.monotonic()
        for line in wording.changes(before, self._seen):
            self._log(line)
            if self._live is None:
                self._print(line)
        if self._live is not None:
            self._live.update(screen.Screen(self._seen, time.time()), refresh=True)
        return self._seen

    def seen(self) -> StudyStatus | None:
        """The study at the last look."""
        return self._seen

    def say(self, text: str) -> None:
        """One line, above the table where there is one, and in the study's log."""
        self._log(text)
        self._print(text)

    def close_with_result(self) -> None:
        """The block that a study ends with."""
        status = self.look()
        if self._live is not None:
            self._live.stop()
        self._console.print(screen.closing(status))

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _log(self, text: str) -> None:
        with self._paths.log.open("a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

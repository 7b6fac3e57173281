"""W&B runs as whoever takes them in wants them: a run's rows as lines of verl's file logger, then the run itself. Never imports wandb.

Runs on the disk are read by wandb's own `wandb leet inspect`; those of a server by `harness.trackers.past_project`, a process of its own.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from harness.errors import ConfigError, TrackerError
from harness.trackers import companion

FINISHED, FAILED, KILLED, CRASHED, RUNNING = "finished", "failed", "killed", "crashed", "running"  # W&B's words for how a run stands
_INTERRUPTED = 255  # the exit status that W&B's client tells of a program that was interrupted
_NOT_FINITE = ("NaN", "Infinity", "-Infinity")  # how they stand in a run's log


@dataclass(frozen=True, kw_only=True, slots=True)
class PastRun:
    """A run at W&B without its rows."""

    id: str
    name: str
    entity: str  # empty: it lies on the disk, where nobody knows whether a server has it
    project: str
    group: str
    tags: tuple[str, ...]
    config: dict[str, Any]
    summary: dict[str, Any]
    state: str
    began_at: float  # seconds since the epoch


@dataclass(frozen=True, kw_only=True, slots=True)
class AskedRuns:
    """Which runs of a project; empty: whatever group or tag."""

    entity: str
    project: str
    group: str
    tag: str


def _need_wandb() -> None:
    found = importlib.util.find_spec("wandb")
    if found is None or found.origin is None:  # a folder of runs that lies about has that name, too
        raise ConfigError("W&B runs are read by the package wandb, which is not installed: pip install 'verl-sweep[wandb]'")


def verl_line(row: Mapping[str, object]) -> bytes | None:
    """A row of a run's history as verl's file logger would have written it; None where it holds no number."""
    step = row.get("_step")
    tables = tuple(name.removesuffix("_type") for name in row if name.endswith("._type"))  # samples, pictures: `name._type`
    data = {
        name: _finite(value)
        for name, value in row.items()
        if not name.startswith("_") and not name.startswith(tables) and _is_number(value)
    }
    return msgspec.json.encode({"step": step, "data": data}) + b"\n" if data and isinstance(step, int) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) or value in _NOT_FINITE


def _finite(value: object) -> object:
    """verl writes null for whatever is not finite."""
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def by_run(logs: Iterable[Path]) -> list[list[Path]]:
    """The logs of each run: several are its parts, the oldest first."""
    parts: dict[str, list[Path]] = {}
    for log in sorted(logs, key=lambda log: log.parent.name.partition("run-")[2]):  # offline-run-20261126_172128-clpwy52w
        parts.setdefault(log.stem, []).append(log)
    return list(parts.values())


def on_disk(logs: Sequence[Path]) -> Iterator[bytes | PastRun]:
    """The lines of the run whose logs these are, and then itself; nothing of logs that are none. Raises ConfigError without wandb."""
    _need_wandb()
    told = _Log()
    for log in logs:
        for text in companion.lines("wandb", "leet", "inspect", "--json", str(log), quiet=True):  # it complains of each torn end
            line = told.take(msgspec.json.decode(text))
            if line is not None:
                yield line
    if "run_id" in told.run:
        yield told.whole()


def of_project(asked: AskedRuns) -> Iterator[bytes | PastRun]:
    """The same of a project at W&B's server, asked by another process. Raises ConfigError without wandb, else TrackerError."""
    _need_wandb()
    for text in companion.lines("harness.trackers.past_project", msgspec.json.encode(asked).decode()):
        said = msgspec.json.decode(text)
        if "error" in said:
            raise TrackerError(said["error"])
        if "end" in said:
            return
        yield msgspec.convert(said["run"], PastRun) if "run" in said else text.encode()
    raise TrackerError("who asked W&B died before it had told of every run")


@dataclass(slots=True)
class _Log:
    """What a run's log has told so far, record by record; a later word replaces an earlier one."""

    run: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    began: str = ""
    exit_code: int | None = None

    def take(self, record: Mapping[str, Any]) -> bytes | None:
        """The line of a row of its history."""
        match record:
            case {"type": "history", "history": {"item": row}}:
                return verl_line(row)
            case {"type": "run", "run": run}:
                self.run |= run
                self.config |= run.get("config", {}).get("update", {})
                self.began = self.began or run.get("start_time", "")
                self.exit_code = None  # it goes on
            case {"type": "config", "config": change}:
                self.config |= change.get("update", {})
            case {"type": "summary", "summary": change}:
                self.summary |= change.get("update", {})
            case {"type": "exit", "exit": end}:
                self.exit_code = end.get("exit_code", 0)
        return None

    def whole(self) -> PastRun:
        return PastRun(
            id=self.run["run_id"],
            name=self.run.get("display_name") or self.run["run_id"],
            entity="",
            project=self.run.get("project", ""),
            group=self.run.get("run_group", ""),
            tags=tuple(self.run.get("tags", ())),
            config={name: value for name, value in self.config.items() if name != "_wandb"},
            summary=self.summary,
            state=_state(self.exit_code),
            began_at=moment(self.began),
        )


def _state(exit_code: int | None) -> str:
    """As a server that heard no more would call it: without an exit, the program died or its end was not written."""
    if exit_code is None:
        return CRASHED
    return {0: FINISHED, _INTERRUPTED: KILLED}.get(exit_code, FAILED)


def moment(text: str) -> float:
    """Seconds since the epoch of W&B's `2026-11-26T17:21:28Z`; 0 where there is none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0

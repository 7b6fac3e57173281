"""What the server was told: runs with every row that came, views, sweeps, files; kept in memory, for as long as the object lives."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

HISTORY, EVENTS, SUMMARY = "wandb-history.jsonl", "wandb-events.jsonl", "wandb-summary.json"


@dataclass(slots=True)
class Run:
    """A run as its page would show it."""

    id: str
    entity: str
    project: str
    name: str  # the id in its address
    display_name: str = ""
    group: str = ""
    job_type: str = ""
    notes: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)  # key -> {"value": ...}
    summary: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, dict[int, str]] = field(default_factory=dict)  # file -> number -> line: a line that comes again replaces itself
    received: Counter[str] = field(default_factory=Counter)  # file -> lines, those that came again too
    files: dict[str, bytes] = field(default_factory=dict)
    state: str = "running"
    exit_code: int | None = None
    stop_requested: bool = False
    sweep: str | None = None
    created_at: float = field(default_factory=time.time)
    heard_at: float = field(default_factory=time.time)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Its history, in the order of its lines."""
        lines = self.lines.get(HISTORY, {})
        return [json.loads(lines[number]) for number in sorted(lines)]

    @property
    def settings(self) -> dict[str, Any]:
        """Its configuration as plain values."""
        return {name: node.get("value") for name, node in self.config.items() if not name.startswith("_")}

    def append(self, name: str, offset: int, lines: list[str]) -> None:
        self.lines.setdefault(name, {}).update({offset + index: line for index, line in enumerate(lines)})
        self.received[name] += len(lines)

    def end(self, exit_code: int) -> None:
        self.exit_code = exit_code
        self.state = "finished" if exit_code == 0 else "failed"


@dataclass(slots=True)
class View:
    """A report or a workspace."""

    id: str
    entity: str
    project: str
    type: str
    name: str
    display_name: str
    description: str
    spec: str
    updates: int = 0


@dataclass(slots=True)
class Sweep:
    """A sweep's object; no agent is served."""

    id: str
    entity: str
    project: str
    name: str
    config: str
    state: str = "PENDING"


class Store:
    """Everything, by its names."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}  # by id
        self.views: dict[str, View] = {}
        self.sweeps: dict[str, Sweep] = {}  # by name
        self.operations: Counter[str] = Counter()  # that were asked for, by their first field
        self.unknown: Counter[str] = Counter()  # fields that were asked for and are not there
        self._numbers = itertools.count(1)

    def number(self) -> int:
        return next(self._numbers)

    def run(self, name: str) -> Run:
        """The run of that name, which must be there."""
        return next(run for run in self.runs.values() if run.name == name)

    def find(self, entity: str, project: str, name: str) -> Run | None:
        return next((run for run in self.of(entity, project) if run.name == name), None)

    def of(self, entity: str, project: str) -> list[Run]:
        return [run for run in self.runs.values() if (run.entity, run.project) == (entity, project)]

    def open(self, entity: str, project: str, name: str) -> tuple[Run, bool]:
        """The run, and whether it is new."""
        run = self.find(entity, project, name)
        if run is not None:
            return run, False
        run = Run(id=f"run-{self.number()}", entity=entity, project=project, name=name, display_name=name)
        self.runs[run.id] = run
        return run, True

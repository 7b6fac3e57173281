"""One attempt as its events and metrics tell it, while they are being written; and the curve of several that went on with each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness import records
from harness.lines import LineReader
from harness.metrics import parse
from harness.objective import matches_pattern
from harness.paths import AttemptPaths
from harness.types import Event, MetricPoint

NOTABLE = ("torn_checkpoint", "no_checkpoint")  # events that carry a message


@dataclass(slots=True)
class AttemptWatch:
    """Follows the events and the objective's curve of one attempt; what cannot be read is left out."""

    paths: AttemptPaths
    metric: str
    given: Event | None = None  # when it first got a slot
    placed: Event | None = None  # when it last did: an engine may close, or die, before it takes an attempt
    training: Event | None = None
    note: str = ""  # what a user should know of it while it runs
    heard: bool = False
    heard_at: float = 0.0  # the time of the last event
    first_step: int = 0
    steps: int = 0
    _values: dict[int, float] = field(default_factory=dict)  # by step: a later line of a step replaces its value
    _events: LineReader = field(init=False)
    _metrics: LineReader = field(init=False)

    def __post_init__(self) -> None:
        self._events, self._metrics = LineReader(self.paths.events), LineReader(self.paths.metrics)

    @property
    def slot(self) -> str | None:
        return str(self.placed.data["slot"]) if self.placed and self.placed.data.get("slot") is not None else None

    @property
    def engine(self) -> str | None:
        """Its folder's name, where the event holds that or its number."""
        found = self.placed.data.get("engine") if self.placed else None
        return None if found is None else f"engine-{found}" if isinstance(found, int) else str(found)

    @property
    def startup_s(self) -> float | None:
        return max(self.training.at - self.given.at, 0.0) if self.given and self.training else None

    @property
    def curve(self) -> tuple[tuple[int, float], ...]:
        """(step, value), ascending, in whatever order they were logged."""
        return tuple(sorted(self._values.items()))

    def follow(self) -> None:
        self.follow_events()
        self._follow_metrics()

    def follow_events(self) -> None:
        for event in self.new_events():
            self.heard, self.heard_at = True, event.at
            if event.name == "given_slot":
                self.given, self.placed = self.given or event, event
            elif event.name == "training":
                self.training = event
            elif event.name in NOTABLE:
                self.note = str(event.data.get("message", ""))

    def last_sign_at(self) -> float:
        """When the attempt last wrote something."""
        try:
            return max(self.heard_at, self.paths.metrics.stat().st_mtime)
        except FileNotFoundError:
            return self.heard_at

    def new_events(self) -> list[Event]:
        return list(records.new_events(self._events))

    def _follow_metrics(self) -> None:
        """A line of verl's holds a hundred values, and most lines hold no validation: of those only the first and the last are parsed."""
        last, literal = b"", _literal(self.metric)
        for line in self._metrics.new_lines():
            if not self.first_step or literal in line:
                self._take(parse(line))
            last = line
        if last and literal not in last:
            self._take(parse(last))

    def _take(self, point: MetricPoint | None) -> None:
        if point is None:
            return
        self.heard = True
        self.first_step = self.first_step or point.step
        self.steps = max(self.steps, point.step)
        values = [value for name, value in point.values.items() if matches_pattern(name, self.metric)]
        if not values:
            return
        self._values[point.step] = sum(values) / len(values)


def stitched(attempts: Sequence[AttemptWatch]) -> tuple[tuple[int, float], ...]:
    """The curve of a trial: a later attempt goes on from a checkpoint, and what an earlier one logged from there on does not count."""
    curve: list[tuple[int, float]] = []
    for attempt in attempts:
        if attempt.first_step:
            curve = [point for point in curve if point[0] < attempt.first_step]
        curve += attempt.curve
    return tuple(curve)


def _literal(pattern: str) -> bytes:
    """The longest part of a metric's pattern that stands as it is in every line which holds a match; may be empty."""
    if "[" in pattern or not pattern.isascii():
        return b""
    return max(re.split(r"[*?]", pattern), key=len).encode()

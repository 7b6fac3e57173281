"""What an attempt's time went into and what it took of its GPUs, as its events and its metrics tell; pure.

Seconds of a phase end with an event; an engine that was running leaves out those of a start. What verl times itself is taken from its
metrics: `timing_s/step` holds a step with its checkpoint and without its validation (verl/trainer/ppo/v1/trainer_base.py, fit).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.types import Event, GpuUse, MetricPoint

QUEUE, VALIDATION, CHECKPOINT, TEARDOWN = "queue", "validation", "checkpoint", "teardown"
FIRST_STEP, STEADY_STEP = "first step", "steady step"
ENDS = (  # event -> the phase that it ends, in the order of a start
    ("accepted", "spawn"),  # or, of an engine that was running, the hand-over of a file
    ("imported", "imports"),
    ("queue", "Ray"),
    ("processes", "workers"),
    ("models", "models"),
    ("server", "rollout engine"),
    ("agent_loops", "agent loops"),
    ("handed_over", "hand-over"),
    ("validated", VALIDATION),
)
PEAK = "perf/gpu/peak_gib/"  # of a role: what the trainer logs on GPUs, with the next
ENERGY = "perf/gpu/energy_kj"
_SANE_LOW, _SANE_HIGH = 0.0, 1e15  # of seconds, GiB, rates, shares: sums of such numbers stay finite
_ROLES = 16


@dataclass(slots=True)
class Mean:
    total: float = 0.0
    count: int = 0

    def add(self, value: float | None) -> None:
        if value is not None:
            self.total, self.count = self.total + value, self.count + 1

    @property
    def value(self) -> float | None:
        return self.total / self.count if self.count else None


@dataclass(slots=True)
class Meter:
    """Collects what the metrics of an attempt tell, point by point: a number or two of each."""

    steps: list[float] = field(default_factory=list)  # seconds, without the checkpoint
    validations: float = 0.0  # seconds in all
    checkpoints: float = 0.0  # seconds in all
    peaks: dict[str, float] = field(default_factory=dict)  # GiB by role
    mfu: Mean = field(default_factory=Mean)
    tokens_per_s: Mean = field(default_factory=Mean)
    energy_kj: Mean = field(default_factory=Mean)

    def add(self, point: MetricPoint) -> None:
        row = {name: value for name, value in point.values.items() if _SANE_LOW <= value <= _SANE_HIGH}  # what it is, the training says
        if (step := row.get("timing_s/step")) is not None:
            save = row.get("timing_s/save_checkpoint", 0.0)
            self.steps.append(step - save)
            self.checkpoints += save
            self.validations += row.get("timing_s/testing", 0.0)
        for name in row:
            if name.startswith(PEAK) and len(self.peaks) < _ROLES:
                role = name.removeprefix(PEAK)
                self.peaks[role] = max(self.peaks.get(role, 0.0), row[name])
        self.mfu.add(row.get("perf/mfu/actor") or None)  # verl logs 0 for an architecture whose FLOPs it cannot count
        self.tokens_per_s.add(row.get("perf/throughput"))
        self.energy_kj.add(row.get(ENERGY))

    def phases(self, events: Sequence[Event], *, asked_at: float, ended_at: float) -> dict[str, float]:
        """Seconds of each phase that was there; `steady step` is the median of the steps behind the first, the others are sums."""
        spent = _start(events, asked_at)
        if not spent:
            return {}
        if self.steps:
            spent[FIRST_STEP] = self.steps[0]
        if len(self.steps) > 1:
            spent[STEADY_STEP] = statistics.median(self.steps[1:])
        if self.validations:
            spent[VALIDATION] = spent.get(VALIDATION, 0.0) + self.validations
        if self.checkpoints:
            spent[CHECKPOINT] = self.checkpoints
        trained = next((event.at for event in events if event.name == "trained"), None)
        if trained is not None:
            spent[TEARDOWN] = max(ended_at - trained, 0.0)
        return {phase: round(seconds, 3) for phase, seconds in spent.items()}

    def gpu(self) -> GpuUse | None:
        """None where the metrics tell nothing of a GPU. Rates are means over the steps, memory is the most of any, energy the sum."""
        if not self.peaks:
            return None
        return GpuUse(
            peak_gib={role: round(peak, 2) for role, peak in sorted(self.peaks.items())},
            mfu=self.mfu.value,
            tokens_per_s=self.tokens_per_s.value,
            energy_kj=round(self.energy_kj.total, 3) if self.energy_kj.count else None,
        )


def _start(events: Sequence[Event], asked_at: float) -> dict[str, float]:
    """The phases that end with an event."""
    given = [event.at for event in events if event.name == "given_slot"]
    if not given:
        return {}
    first: dict[str, float] = {}
    for event in events:
        first.setdefault(event.name, event.at)
    since = given[-1]  # an engine may close, or die, before it takes an attempt
    spent = {QUEUE: max(since - asked_at, 0.0)}
    for name, phase in ENDS:
        if name in first and first[name] >= since:
            spent[phase], since = first[name] - since, first[name]
    return spent

"""What a training has used up by a step, in tokens or in seconds of its GPUs, as its own metrics tell; pure.

verl logs both for each step: `perf/total_num_tokens`, prompts and responses of all its GPUs, and `timing_s`, whose `step` leaves out the
validation (verl/trainer/ppo/metric_utils.py, v1/trainer_base.py). A start costs the same whatever is tried, and counts for nothing here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from harness.types import MetricPoint


class Resource(StrEnum):
    """What the rungs of a pruner are counted in."""

    STEPS = "steps"
    TOKENS = "tokens"
    GPU_SECONDS = "gpu_seconds"  # of all GPUs of a slot, or of its part of one; a slot on the processors counts as one


_METRICS = {
    Resource.TOKENS: ("perf/total_num_tokens",),
    Resource.GPU_SECONDS: ("timing_s/step", "timing_s/testing"),
}


@dataclass(slots=True)
class Expense:
    """Collects what each step took, over all attempts: a step that was trained again, from a checkpoint, counts once."""

    resource: Resource  # not STEPS
    gpus: float  # of the slot; 0: none
    _of_step: dict[int, float] = field(default_factory=dict)

    def add(self, point: MetricPoint) -> None:
        amounts = [point.values.get(name, 0.0) for name in _METRICS[self.resource]]
        amount = math.fsum(amount for amount in amounts if math.isfinite(amount) and amount > 0)
        if amount:
            self._of_step[point.step] = amount * ((self.gpus or 1.0) if self.resource is Resource.GPU_SECONDS else 1.0)

    def up_to(self, step: int) -> float:
        """All that was used up to a step and in it."""
        return round(math.fsum(amount for of, amount in self._of_step.items() if of <= step), 3)

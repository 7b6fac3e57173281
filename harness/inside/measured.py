"""verl's synchronous trainer that tells what each part of a step took of the GPUs; on a CPU it is verl's own."""

from __future__ import annotations

import os
from typing import Any

from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

from harness.inside.gpu_use import GpuUse
from harness.types import Slot


class MeasuredTrainer(PPOTrainerSync):
    """Each part of a step is followed by a look at the memory: verl's own methods are called and nothing of theirs is changed."""

    gpu_use: GpuUse | None = None

    def measure(self, slot: Slot) -> None:
        """From now on. The workers have to be there."""
        if slot.gpus and os.environ.get("VERL_PLATFORM") != "cpu":
            self.gpu_use = GpuUse(self.actor_rollout_wg, slot)

    def on_step_begin(self) -> None:
        if self.gpu_use is not None:
            self.gpu_use.begin()
        super().on_step_begin()

    def on_sample_end(self) -> None:
        self._part("rollout")  # before its server goes to sleep
        super().on_sample_end()

    def _compute_old_log_prob(self, *args: Any, **kwargs: Any) -> Any:
        return self._done("actor", super()._compute_old_log_prob(*args, **kwargs))

    def _compute_ref_log_prob(self, *args: Any, **kwargs: Any) -> Any:
        return self._done("reference", super()._compute_ref_log_prob(*args, **kwargs))

    def _compute_values(self, *args: Any, **kwargs: Any) -> Any:
        return self._done("critic", super()._compute_values(*args, **kwargs))

    def _update_critic(self, *args: Any, **kwargs: Any) -> Any:
        return self._done("critic", super()._update_critic(*args, **kwargs))

    def _update_actor(self, *args: Any, **kwargs: Any) -> Any:
        return self._done("actor", super()._update_actor(*args, **kwargs))

    def _compute_metrics(self, batch: Any, metrics: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super()._compute_metrics(batch, metrics, *args, **kwargs)
        if self.gpu_use is not None:
            metrics.update(self.gpu_use.metrics())

    def _done(self, role: str, answer: Any) -> Any:
        self._part(role)
        return answer

    def _part(self, role: str) -> None:
        if self.gpu_use is not None:
            self.gpu_use.part(role)

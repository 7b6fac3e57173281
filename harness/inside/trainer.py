"""verl's synchronous trainer in two halves: `Boot` starts the processes of an engine, an `AttemptTrainer` trains one attempt on them.

The configuration keeps `trainer_mode: sync`: verl treats a mode of any other name as an asynchronous one.
"""

from __future__ import annotations

import math
import time
from typing import Any

import ray
import transfer_queue
from verl.trainer.ppo.utils import Role
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

from harness.engine import AttemptDesk
from harness.inside.replay import OrderedReplayBuffer
from harness.inside.workers import ActorWorker, CriticWorker, Restored
from harness.types import Reason, StopRequest

CORRELATION = "training/rollout_actor_probs_pearson_corr"
_HANDLES = (  # of processes, and of what was read from the model's folder; all else of a trainer belongs to one attempt
    "tokenizer",
    "processor",
    "resource_pool_manager",
    "resource_pool_to_cls",
    "role_worker_mapping",
    "mapping",
    "ref_in_actor",
    "actor_rollout_wg",
    "ref_policy_wg",
    "critic_wg",
    "reward_loop_manager",
    "teacher_model_manager",
    "distillation_config",
    "llm_server_manager",
    "checkpoint_manager",
)


class Stopped(Exception):  # a decision, not an error
    """The attempt was asked to stop while it waited for answers; the step under way is given up."""

    def __init__(self, request: StopRequest) -> None:
        super().__init__(request.message)
        self.request = request


class Untrusted(Exception):
    """The engine is not as it was when it was new: what it would train could not be compared with other attempts."""


class Boot(PPOTrainerSync):
    """Everything that takes long: processes, models, the rollout. Trains nothing."""

    def __init__(self, config: Any, desk: AttemptDesk) -> None:
        super().__init__(config)
        self.desk = desk
        self.correlation = math.nan  # of actor and rollout at the first step of the first attempt
        self.device_bytes: list[int] | None = None  # by rank, when the first attempt began

    def _init_resource_pool_mgr(self) -> None:
        self.desk.event("data")
        super()._init_resource_pool_mgr()
        for role in self.role_worker_mapping:
            self.role_worker_mapping[role] = ray.remote(CriticWorker if role is Role.Critic else ActorWorker)

    def _load_checkpoint(self) -> None:
        """Each attempt loads its own."""
        self.global_steps = 0
        self.desk.event("workers")

    def on_init_end(self) -> None:
        """Each attempt hands its own weights to the rollout."""


class AttemptTrainer(PPOTrainerSync):
    """A new object for every attempt."""

    def __init__(self, config: Any, desk: AttemptDesk, boot: Boot, *, served: int) -> None:
        """`served`: how many attempts were trained on these processes before."""
        super().__init__(config)
        self.desk, self.boot, self.served = desk, boot, served
        self.stop: StopRequest | None = None
        self.global_steps = 0  # verl sets it when it looks for a checkpoint
        self.phases: dict[str, float] = {}  # seconds
        self._since = time.monotonic()
        self._first_step: int | None = None
        self._saved: int | None = None  # the step of the last checkpoint
        if isinstance(self.replay_buffer, OrderedReplayBuffer):
            self.replay_buffer.while_waiting = self._while_waiting

    @property
    def logged_steps(self) -> int:
        return max(0, self.global_steps - 1)

    def mark(self, phase: str) -> None:
        """A part of the hand-over is done."""
        now = time.monotonic()
        self.phases[phase], self._since = round(now - self._since, 3), now

    def _setup(self) -> None:
        for name in _HANDLES:
            if hasattr(self.boot, name):
                setattr(self, name, getattr(self.boot, name))
        self.mark("trainer")
        self._init_dataloader()  # first: it writes the schedule's length into the configuration
        self._init_dump_executor()
        self.mark("data")
        if self.served:
            self.checkpoint_manager.sleep_replicas()  # a booted rollout sleeps already
        self.mark("sleep")
        self._retarget()
        self.mark("workers")
        self._load_checkpoint()
        self.mark("checkpoint")

    def _retarget(self) -> None:
        """Raises Untrusted where a model's weights are not its first ones, or an accelerator's memory did not come back."""
        seed = self.config.data.get("seed")
        restored: list[Restored] = self.actor_rollout_wg.retarget(self.config.actor_rollout_ref, seed)
        if self.use_critic:
            restored += self.critic_wg.retarget(self.config.critic, seed)
        if any(answer.now != answer.first for answer in restored):
            raise Untrusted("the weights of the actor, the reference or the critic differ from the engine's first ones")
        bytes_now = [answer.device_bytes for answer in restored]
        if self.boot.device_bytes is None:
            self.boot.device_bytes = bytes_now
        grown = max(now - first for now, first in zip(bytes_now, self.boot.device_bytes, strict=True))
        if grown > max(2**29, max(self.boot.device_bytes) // 10):
            raise Untrusted(f"{grown / 2**20:.0f} MiB more of the accelerator's memory are in use than before the engine's first attempt")

    def on_init_end(self) -> None:
        super().on_init_end()
        self.mark("rollout")
        self.desk.event("rollout", step=self.global_steps)

    def on_validate_end(self) -> None:
        super().on_validate_end()
        if self._first_step is None:
            self.desk.event("validated", step=self.global_steps)

    def on_step_begin(self) -> None:
        if self._first_step is None:
            self._first_step = self.global_steps
            self.desk.event("training", step=self.global_steps)
        super().on_step_begin()

    def on_step_end(self) -> None:
        if self.global_steps < self.total_training_steps:
            self.stop = self.desk.stop_request()
        if self._is_to_be_continued() and self._saved != self.global_steps:
            self._save_checkpoint()  # here, where verl itself would: the rollout sleeps
        super().on_step_end()
        if self.stop is not None:
            self.total_training_steps: int = self.global_steps  # verl logs this step, then leaves its loop

    def _is_to_be_continued(self) -> bool:
        """Whether the attempt is only interrupted: the trial goes on with this checkpoint, whatever `save_freq` says."""
        return self.stop is not None and self.stop.reason is Reason.INTERRUPTED

    def _save_checkpoint(self) -> None:
        super()._save_checkpoint()
        self._saved = self.global_steps
        self.desk.event("checkpoint", step=self.global_steps)

    def _compute_metrics(self, batch: Any, metrics: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super()._compute_metrics(batch, metrics, *args, **kwargs)
        if self.global_steps == self._first_step:
            self._check_first_step(batch, metrics)

    def _check_first_step(self, batch: Any, metrics: dict[str, Any]) -> None:
        """Before it is logged. Raises Untrusted where the rollout had other weights or other settings than the actor."""
        correlation = float(metrics.get(CORRELATION, math.nan))
        if not self.served:
            self.boot.correlation = correlation
            return
        if correlation < min(self.boot.correlation, 1.0) - 0.05:  # False where either is NaN: every answer was certain
            raise Untrusted(
                f"rollout and actor correlate by {correlation:.3f}, in the engine's first attempt by {self.boot.correlation:.3f}"
            )
        sessions = {key.rsplit("_", 1)[0] for key, tag in zip(batch.keys, batch.tags, strict=True) if not tag.get("is_padding", False)}
        wanted = self.config.data.train_batch_size * self.config.actor_rollout_ref.rollout.n
        if len(sessions) != wanted:
            raise Untrusted(f"the rollout gave {len(sessions)} answers where batch x n is {wanted}")

    def _while_waiting(self) -> None:
        request = self.desk.stop_request() if self.stop is None else None
        if request is not None and request.reason is not Reason.INTERRUPTED:  # whose step ends, for its checkpoint
            raise Stopped(request)
        check = getattr(getattr(self, "agent_loop_manager", None), "check", None)
        if check is not None:
            check()

    def let_go(self) -> int:
        """Drops what a training leaves in the queue, and its threads; the number of entries that were left."""
        if hasattr(self, "_dump_executor"):
            self._shutdown_dump_executor()
        left = {partition: list(entries) for partition, entries in (transfer_queue.kv_list() or {}).items() if entries}
        for partition, keys in left.items():
            transfer_queue.kv_clear(keys=keys, partition_id=partition)
        return sum(map(len, left.values()))

"""verl's synchronous trainer in two halves: `Boot` starts the processes of an engine, an `AttemptTrainer` trains one attempt on them.

The configuration keeps `trainer_mode: sync`: verl treats a mode of any other name as an asynchronous one.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import transfer_queue
from verl.trainer.ppo.utils import Role
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

from harness import checkpoints
from harness.engine import AttemptDesk
from harness.errors import NoSpaceForCheckpoint
from harness.inside.measured import MeasuredTrainer
from harness.inside.replay import OrderedReplayBuffer
from harness.inside.workers import ActorWorker, CriticWorker, Restored
from harness.lines import LineReader
from harness.types import Slot, StopRequest

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


_STAGES = {  # verl has no hook between the parts of its start: what it sets tells how far it has come
    "critic_wg": "processes",  # whose processes live, without a model
    "actor_rollout_wg": "processes",
    "reward_loop_manager": "models",  # which are loaded
    "llm_server_manager": "server",  # the rollout's, which is ready
}


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
        self.stages: list[str] = []  # that the start has come to
        self.desk = desk
        self.correlation = math.nan  # of actor and rollout at the first step of the first attempt
        self.device_bytes: list[int] | None = None  # by rank, when the first attempt began

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        stage = _STAGES.get(name)
        if stage is not None and stage not in self.stages:
            self.stages.append(stage)
            self.desk.event(stage)

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


class AttemptTrainer(MeasuredTrainer):
    """A new object for every attempt."""

    def __init__(self, config: Any, desk: AttemptDesk, boot: Boot, *, slot: Slot, served: int) -> None:
        """`served`: how many attempts were trained on these processes before."""
        super().__init__(config)
        self.desk, self.boot, self.slot, self.served = desk, boot, slot, served
        self.stop: StopRequest | None = None
        self.global_steps = 0  # verl sets it when it looks for a checkpoint
        self.phases: dict[str, float] = {}  # seconds
        self._since = time.monotonic()
        self._first_step: int | None = None
        self._checkpoints = Path(config.trainer.default_local_dir)
        self._checkpoint_bytes = 0  # of the first one
        self._saved: int | None = None  # the step of the last checkpoint
        if isinstance(self.replay_buffer, OrderedReplayBuffer):
            self.replay_buffer.while_waiting = self._while_waiting
            self._tell_of_refills(self.replay_buffer)

    def _tell_of_refills(self, buffer: OrderedReplayBuffer) -> None:
        """verl leaves it to a buffer that is not its own whether groups without a signal, and failed ones, are replaced."""
        metric, failed = self._resolve_filter_groups_metric(), bool(self.config.trainer.v1.sampler.get("sync_refill_failed_groups", False))
        if metric is not None or failed:
            flying = self.config.algorithm.filter_groups.get("max_inflight_gen_batches", 1)
            buffer.refill(metric=metric, failed=failed, batch_size=self.config.data.train_batch_size, most_in_flight=flying)

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
        self.measure(self.slot)
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
        self._checkpoint_bytes = sum(answer.checkpoint_bytes for answer in restored)
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

    def on_sample_end(self) -> None:
        if self.global_steps == self._first_step:
            self.desk.event("sampled", step=self.global_steps)
        super().on_sample_end()

    def on_step_end(self) -> None:
        if self.global_steps < self.total_training_steps:
            self.stop = self.desk.stop_request()
        if self._is_to_be_continued() and self._saved != self.global_steps:
            try:
                self._save_checkpoint()  # here, where verl itself would: the rollout sleeps
            except NoSpaceForCheckpoint as error:  # the trial goes on from an earlier one
                self.desk.event("no_checkpoint", step=self.global_steps, message=str(error))
        super().on_step_end()
        if self.stop is not None:
            self.total_training_steps: int = self.global_steps  # verl logs this step, then leaves its loop

    def _is_to_be_continued(self) -> bool:
        """Whether the attempt is only interrupted or paused: the trial goes on with this checkpoint, whatever `save_freq` says."""
        return self.stop is not None and self.stop.reason.goes_on

    def _load_checkpoint(self) -> None:
        """The newest one that is whole, whatever verl's own note says, which names one that was never finished just as well."""
        if self._saves_later:
            super()._load_checkpoint()
            return
        trainer = self.config.trainer
        newest = next(iter(checkpoints.complete(self._checkpoints)), None)
        torn = checkpoints.torn(self._checkpoints, after=newest.step if newest is not None else 0)
        trainer.resume_mode, trainer.resume_from_path = ("resume_path", str(newest.path)) if newest is not None else ("disable", None)
        if torn:
            place = f"goes on from step {newest.step}" if newest is not None else "begins anew"
            self.desk.event("torn_checkpoint", message=f"{place}: {'; '.join(torn)}")
        super()._load_checkpoint()
        if newest is None:
            return
        self.desk.event("resumed", step=newest.step)
        # What is known of this step is not measured again; what its attempt did not live to measure is.
        if not trainer.get("val_only", False):
            trainer.val_before_train = self._owes_validation(newest.step)

    def _owes_validation(self, step: int) -> bool:
        """Whether a validation follows this step and no attempt has logged it."""
        frequency = self.config.trainer.test_freq
        if frequency <= 0 or (step % frequency and step < self.total_training_steps):
            return False
        lines = (line for attempt in self.desk.paths.trial.attempts() for line in LineReader(attempt.metrics).new_lines())
        rows = (json.loads(line) for line in lines if b"val-" in line)
        return not any(row["step"] == step and any(name.startswith("val-") for name in row["data"]) for row in rows)

    def _save_checkpoint(self) -> None:
        """Raises NoSpaceForCheckpoint, rather than leave a torn one."""
        if self._saves_later:
            super()._save_checkpoint()
        else:
            self._save_whole()
        self._saved = self.global_steps
        self.desk.event("checkpoint", step=self.global_steps)

    def _save_whole(self) -> None:
        wanted = checkpoints.prepare(self._checkpoints, self.global_steps, self._checkpoint_bytes)
        self.desk.event("saving", step=self.global_steps)
        try:
            with _retention_off(self.config.trainer):
                super()._save_checkpoint()
        except Exception as error:
            checkpoints.remove(checkpoints.folder_of(self._checkpoints, self.global_steps))
            try:
                checkpoints.refuse_if_full(self._checkpoints, wanted)
            except NoSpaceForCheckpoint as full:  # somebody else was faster
                raise full from error
            raise
        checkpoints.seal(self._checkpoints, self.global_steps)
        if (number := self._to_be_kept()) is not None:
            checkpoints.keep_newest(self._checkpoints, number)

    @property
    def _saves_later(self) -> bool:
        """Whether a save goes on behind the next steps (Megatron's `async_save`): verl's own bookkeeping, which follows it, has to do."""
        return bool(self.config.actor_rollout_ref.actor.get("checkpoint", {}).get("async_save", False))

    def _to_be_kept(self) -> int | None:
        """How many checkpoints at most; one is kept or removed whole, the actor's part with the critic's."""
        trainer = self.config.trainer
        if trainer.get("remove_previous_ckpt_in_save", False):
            return 1
        limits = [trainer.get("max_actor_ckpt_to_keep")] + ([trainer.get("max_critic_ckpt_to_keep")] if self.use_critic else [])
        return max(limits) if all(limit is not None and limit > 0 for limit in limits) else None

    def _compute_values(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
        """verl leaves in the batch what switched the actor's adapters off for the reference: the critic's would be off as well."""
        batch.extra_info.pop("no_lora_adapter", None)
        return super()._compute_values(batch, *args, **kwargs)

    def _compute_metrics(self, batch: Any, metrics: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super()._compute_metrics(batch, metrics, *args, **kwargs)
        if self.global_steps == self._first_step:
            try:
                self._check_first_step(batch, metrics)
            except Untrusted:
                if self._saved is not None:  # another engine must not go on from it
                    checkpoints.remove(checkpoints.folder_of(self._checkpoints, self._saved))
                raise

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
        if request is not None and not request.reason.goes_on:  # else the step ends, for its checkpoint
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


@contextmanager
def _retention_off(trainer: Any) -> Iterator[None]:
    """verl removes the checkpoint before when the actor of the new one is written, and in a warm engine even another trial's."""
    off = {"max_actor_ckpt_to_keep": None, "max_critic_ckpt_to_keep": None, "remove_previous_ckpt_in_save": False}
    before = {name: trainer[name] for name in off if name in trainer}
    trainer.update({name: off[name] for name in before})
    try:
        yield
    finally:
        trainer.update(before)

"""verl's workers for the attempts of one engine: they keep their first weights, and go back to them with another attempt's settings.

Named to verl through its trainer's table of roles. Only FSDP engines: `harness.fingerprint.reusable` keeps others away from here.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, open_dict
from verl.single_controller.base.decorator import Dispatch, register
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.device import get_torch_device
from verl.utils.import_utils import import_external_libs
from verl.workers.engine_workers import ActorRolloutRefWorker, TrainingWorker, TrainingWorkerConfig
from verl.workers.utils.losses import ppo_loss, value_loss

from harness.inside import weight_sockets
from harness.inside.gpu_use import Memory
from harness.inside.weights import FirstWeights, checkpoint_bytes, checksum_of

weight_sockets.register()  # here, for whoever builds a rollout has these workers

HEAD_SEED = 0  # of a critic's new last layer: the same in every engine, whichever attempt it was started for


@dataclass(frozen=True, kw_only=True, slots=True)
class Restored:
    """What a worker answers to `retarget`, for each model that it holds."""

    first: tuple[int, ...]  # checksums of the weights when the engine was built
    now: tuple[int, ...]
    device_bytes: int  # allocated on the accelerator
    checkpoint_bytes: int  # what this rank would write


class ActorWorker(ActorRolloutRefWorker):
    """Actor, rollout and reference of one rank."""

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def init_model(self) -> None:
        super().init_model()
        self._first = FirstWeights(self.actor.engine.module)
        self._reference = _checksum_of(self.ref)

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    @torch.no_grad()
    def retarget(self, config: DictConfig, seed: int | None) -> Restored:
        """`config` is `actor_rollout_ref`. The reference model is only ever read, so it is looked at and left alone."""
        with open_dict(self.config):
            self.config.actor, self.config.rollout = config.actor, config.rollout  # not ref: init_model rewrote it
        actor = omega_conf_to_dataclass(config.actor)
        actor.model_config = self.actor.model_config
        self.loss_fn = partial(ppo_loss, config=actor)
        self.actor.set_loss_fn(self.loss_fn)
        now = self._first.restore(self.actor.engine.module)
        _start_anew(self.actor, actor.optim)
        seed_process(seed)
        return Restored(
            first=(self._first.checksum, self._reference),
            now=(now, _checksum_of(self.ref)),
            device_bytes=_device_bytes(),
            checkpoint_bytes=checkpoint_bytes(self.actor.engine.module),
        )

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def memory(self) -> Memory:
        """What this process, which actor, reference and critic share, has used since the last call."""
        device = get_torch_device()
        free, total = device.mem_get_info()
        answer = Memory(peak_bytes=device.max_memory_allocated(), held_bytes=device.memory_reserved(), device_bytes=total - free)
        device.reset_peak_memory_stats()
        return answer


class CriticWorker(TrainingWorker):
    """The critic of one rank."""

    def __init__(self, config: TrainingWorkerConfig) -> None:
        # verl imports it where a model's configuration is built, which for a critic is another process.
        import_external_libs(config.model_config.external_lib)
        super().__init__(config)

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def reset(self) -> None:
        seed_process(HEAD_SEED)
        super().reset()
        self._first = FirstWeights(self.engine.module)

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    @torch.no_grad()
    def retarget(self, config: DictConfig, seed: int | None) -> Restored:
        """`config` is `critic`."""
        critic = omega_conf_to_dataclass(config)
        self.set_loss_fn(partial(value_loss, config=critic))
        now = self._first.restore(self.engine.module)
        _start_anew(self, critic.optim)
        seed_process(seed)
        return Restored(
            first=(self._first.checksum,),
            now=(now,),
            device_bytes=_device_bytes(),
            checkpoint_bytes=checkpoint_bytes(self.engine.module),
        )


def seed_process(seed: int | None) -> None:
    if seed is None:
        return
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _checksum_of(worker: TrainingWorker | None) -> int:
    return 0 if worker is None else checksum_of(worker.engine.module)


def _start_anew(worker: TrainingWorker, optimizer_config: Any) -> None:
    """Optimizer, schedule and loss scale as of a first step, and the checkpoints' view of them."""
    engine = worker.engine
    engine.optimizer_config = worker.optimizer_config = optimizer_config
    engine.optimizer.zero_grad(set_to_none=True)
    engine.optimizer.state.clear()
    engine.optimizer = engine._build_optimizer(engine.module)
    engine.lr_scheduler = engine._build_lr_scheduler(engine.optimizer)
    engine.checkpoint_manager.optimizer = engine.optimizer
    engine.checkpoint_manager.lr_scheduler = engine.lr_scheduler
    if getattr(engine, "scaler", None) is not None:
        engine.scaler = type(engine.scaler)(growth_interval=engine.scaler.get_growth_interval())


def _device_bytes() -> int:
    device = get_torch_device()
    device.empty_cache()
    return int(device.memory_allocated())

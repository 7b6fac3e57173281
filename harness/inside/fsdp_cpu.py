"""Set as `model.external_lib`: verl's FSDP2 engines on the host's own memory, a gloo process group, and the rollout `hf`.

verl imports it in every process that builds a model's configuration, before any engine is built. FSDP1 is refused by torch itself on a CPU.
"""

from __future__ import annotations

import os
from typing import Any

import torch.distributed as dist
from verl.workers.engine import EngineRegistry, FSDPEngineWithLMHead
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithValueHead
from verl.workers.rollout.base import _ROLLOUT_REGISTRY
from verl.workers.rollout.replica import RolloutReplicaRegistry

from harness.inside.fsdp_engines import LogProbsAtOnce, ValueOfAnyModel


def join_process_group() -> None:
    """verl would ask for "cpu:gloo,cpu:gloo", whose double key torch refuses; it keeps a group that exists."""
    if "RANK" in os.environ and not dist.is_initialized():
        dist.init_process_group("gloo", rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"]))


class KeepsParametersInPlace:
    """Leaves out the page-locked offload of a reference model: there is no accelerator to copy from it, and torch would refuse to pin."""

    engine_config: Any

    def _build_fsdp_module(self, module: Any) -> Any:
        forward_only, self.engine_config.forward_only = self.engine_config.forward_only, False
        try:
            return super()._build_fsdp_module(module)  # type: ignore[misc]
        finally:
            self.engine_config.forward_only = forward_only


@EngineRegistry.register(model_type="language_model", backend="fsdp2", device="cpu")
class CpuLanguageModel(KeepsParametersInPlace, LogProbsAtOnce, FSDPEngineWithLMHead):
    """verl's FSDP2 engine for actor and reference."""


@EngineRegistry.register(model_type="value_model", backend="fsdp2", device="cpu")
class CpuValueModel(KeepsParametersInPlace, ValueOfAnyModel, FSDPEngineWithValueHead):
    """verl's FSDP2 engine for the critic."""


def _replica() -> Any:
    from harness.inside.hf_rollout import HfReplica

    return HfReplica


join_process_group()
RolloutReplicaRegistry.register("hf", _replica)
# verl 0.9.1 has a registry of these adapters, but no public way into it.
_ROLLOUT_REGISTRY[("hf", "async")] = "harness.inside.hf_rollout.HfAdapter"

"""Set as `model.external_lib` on NVIDIA GPUs: verl's FSDP engines, with all log-probabilities at once and a critic without flash-attention.

Registered for the vendor, which verl looks up before its own engines of the device; verl's own stay what they are for any other vendor.
"""

from __future__ import annotations

from verl.workers.engine import EngineRegistry, FSDPEngineWithLMHead
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithValueHead

from harness.inside.fsdp_engines import LogProbsAtOnce, ValueOfAnyModel


@EngineRegistry.register(model_type="language_model", backend=["fsdp", "fsdp2"], device="cuda", vendor="nvidia")
class CudaLanguageModel(LogProbsAtOnce, FSDPEngineWithLMHead):
    """verl's FSDP engine for actor and reference."""


@EngineRegistry.register(model_type="value_model", backend=["fsdp", "fsdp2"], device="cuda", vendor="nvidia")
class CudaValueModel(ValueOfAnyModel, FSDPEngineWithValueHead):
    """verl's FSDP engine for the critic."""

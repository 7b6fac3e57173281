"""Refuses parallel sizes that do not fit the GPUs or the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.nearest import divisors, nearest_of
from harness.preflight.files import model_shape
from harness.preflight.finding import Finding, refused
from harness.preflight.view import ACTOR, MODEL, REF, ROLLOUT, View

TENSOR = f"{ROLLOUT}.tensor_model_parallel_size"
BUILT_IN_ROLLOUTS = ("vllm", "sglang", "trtllm")


def rollout_over_gpus(view: View) -> Iterator[Finding]:
    """verl/workers/engine_workers.py init_model asserts it in the worker. The default of 2 does not fit one GPU."""
    if _standalone(view):
        return
    tensor = view.positive(TENSOR)
    others = max(1, view.size(f"{ROLLOUT}.data_parallel_size", 1)) * max(1, view.size(f"{ROLLOUT}.pipeline_model_parallel_size", 1))
    if view.gpus % (tensor * others) == 0:
        return
    nearest = nearest_of(tensor, [d for d in divisors(view.gpus) if view.gpus % (d * others) == 0])
    size = f"a rollout takes {tensor} x {others} GPUs" if others > 1 else f"a rollout takes {tensor} GPUs"
    yield refused(TENSOR, f"{size}, which do not divide the {view.gpus} of trainer.n_gpus_per_node x nnodes", nearest=nearest)


def rollout_over_nodes(view: View) -> Iterator[Finding]:
    """verl/workers/rollout/replica.py RolloutReplica.__init__: a rollout spans whole nodes, or lies within one."""
    tensor, node = view.positive(TENSOR), view.positive("trainer.n_gpus_per_node")
    if _standalone(view) or view.gpus % tensor or tensor <= node or tensor % node == 0:
        return
    nearest = nearest_of(tensor, [d for d in divisors(view.gpus) if d % node == 0])
    yield refused(TENSOR, f"expected whole nodes of {node} GPUs, got {tensor}", nearest=nearest)


def pipeline_parallel(view: View) -> Iterator[Finding]:
    """verl/workers/config/rollout.py RolloutConfig.__post_init__."""
    key = f"{ROLLOUT}.pipeline_model_parallel_size"
    size = view.size(key, 1)
    if size > 1 and view.find(f"{ROLLOUT}.name") in BUILT_IN_ROLLOUTS:
        yield refused(key, f"rollout {view.find(f'{ROLLOUT}.name')} has no pipeline parallelism, got {size}", nearest=1)


def expert_parallel(view: View) -> Iterator[Finding]:
    """verl/workers/config/rollout.py RolloutConfig.__post_init__."""
    key = f"{ROLLOUT}.expert_parallel_size"
    size = view.size(key, 1)
    if view.find(f"{ROLLOUT}.name") == "trtllm" or size <= 1:
        return
    product = view.positive(TENSOR) * view.size(f"{ROLLOUT}.data_parallel_size", 1)
    if size != product:
        yield refused(key, f"expected 1, or tensor x data parallel size = {product}, got {size}", nearest=product)


def sequence_parallel(view: View) -> Iterator[Finding]:
    """verl/workers/engine/fsdp/transformer_impl.py _init_device_mesh; verl/models/transformers/monkey_patch.py apply_monkey_patch."""
    for role, engine in _engines(view):
        size = view.sequence_parallel(role, engine)
        if size <= 1:
            continue
        key, shape = _sequence_key(view, role, engine), model_shape(view)
        legal = [d for d in divisors(view.gpus) if _fits_heads(shape, d)]
        if size not in legal:
            heads = shape.get("num_attention_heads")
            of_heads = f" and of the model's {heads} attention heads" if heads else ""
            yield refused(key, f"expected a divisor of the {view.gpus} GPUs{of_heads}, got {size}", nearest=nearest_of(size, legal))
        elif view.find(packing := _packing_key(role)) is False:
            # FSDPActorConfig.validate sees the deprecated key only; FSDPEngine.__init__ raises for both, in the worker
            what = f"sequence parallelism of {size} works on packed sequences only, got {packing}=false"
            yield refused(key, what, nearest=1, cure=f"or {packing}=true")


def sharding(view: View) -> Iterator[Finding]:
    """verl/workers/engine/fsdp/utils.py create_device_mesh: a mesh of world // size by size."""
    for role, engine in _engines(view):
        key = f"{role}.{engine}.fsdp_size"
        size = view.find(key, -1)
        if not isinstance(size, int) or size < 0 or size >= view.gpus or (size and view.gpus % size == 0):
            continue
        nearest = nearest_of(size, divisors(view.gpus)) if size else -1
        yield refused(key, f"expected -1 or a divisor of the {view.gpus} GPUs, got {size}", nearest=nearest)


def _engines(view: View) -> Iterator[tuple[str, str]]:
    if view.fsdp:
        yield ACTOR, "fsdp_config"
    if view.fsdp and view.reference:
        yield REF, "fsdp_config"
    if view.critic and view.find("critic.strategy") in ("fsdp", "fsdp2", "fsdp_turbo"):
        yield "critic", "fsdp"


def _packing_key(role: str) -> str:
    return "critic.model.use_remove_padding" if role == "critic" else f"{MODEL}.use_remove_padding"


def _sequence_key(view: View, role: str, engine: str) -> str:
    deprecated = f"{role}.ulysses_sequence_parallel_size"
    if role != "critic" and view.size(deprecated, 1) == view.sequence_parallel(role, engine):
        return deprecated
    return f"{role}.{engine}.ulysses_sequence_parallel_size"


def _fits_heads(shape: Mapping[str, int], size: int) -> bool:
    heads = shape.get("num_attention_heads", size)
    groups = shape.get("num_key_value_heads", heads)
    return heads % size == 0 and (groups % size == 0 or size % groups == 0)


def _standalone(view: View) -> bool:
    """The rollout has GPUs of its own: verl/trainer/ppo/v1/trainer_separate_async.py."""
    return bool(view.find("trainer.v1.trainer_mode") == "separate_async")

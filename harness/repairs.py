"""How a trial that ran out of GPU memory can run after all: other throughput settings, never another training; pure."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from harness.fingerprint import PER_ATTEMPT, leaves
from harness.types import Failure, FailureKind, Part

_ACTOR, _ROLLOUT, _REF, _CRITIC = "actor_rollout_ref.actor", "actor_rollout_ref.rollout", "actor_rollout_ref.ref", "critic"
# How much is computed at once, and where weights wait meanwhile. verl scales each micro-batch's loss by its share of the mini-batch.
THROUGHPUT = (
    f"{_ROLLOUT}.gpu_memory_utilization",
    f"{_ROLLOUT}.log_prob_micro_batch_size_per_gpu",
    f"{_ROLLOUT}.log_prob_max_token_len_per_gpu",
    f"{_ACTOR}.ppo_micro_batch_size_per_gpu",
    f"{_ACTOR}.ppo_max_token_len_per_gpu",
    f"{_ACTOR}.fsdp_config.param_offload",
    f"{_ACTOR}.fsdp_config.optimizer_offload",
    f"{_REF}.log_prob_micro_batch_size_per_gpu",
    f"{_REF}.log_prob_max_token_len_per_gpu",
    f"{_CRITIC}.ppo_max_token_len_per_gpu",
    f"{_CRITIC}.forward_max_token_len_per_gpu",
    f"{_CRITIC}.fsdp.param_offload",
    f"{_CRITIC}.fsdp.optimizer_offload",
)
_LEAST_SHARE, _LARGEST_SHARE, _STEP = 0.1, 0.9, 0.8  # of a GPU's memory for the rollout
_TOO_LITTLE = ("cache blocks", "KV cache")  # what vLLM says where its share is too small


def repair(failure: Failure, config: Mapping[str, Any], swept: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The settings to change for the next attempt, by dotted key; empty where nothing helps. A key that is swept stays as it is."""
    if failure.kind is not FailureKind.GPU_MEMORY:
        return {}
    values = dict(leaves(config))
    for change in _ladder(failure, values):
        if change and not swept & change.keys() and any(values.get(key) != value for key, value in change.items()):
            return change
    return {}


def repaired(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with these settings."""
    tree = copy.deepcopy(dict(config))
    for key, value in changes.items():
        assert key in THROUGHPUT, key
        node = tree
        *path, name = key.split(".")
        for part in path:
            node = node[part]
        node[name] = value
    return tree


def training_digest(config: Mapping[str, Any]) -> str:
    """16 hexadecimal digits over all of a configuration that a repair may not touch."""
    kept = {key: value for key, value in leaves(config) if key not in (*THROUGHPUT, *PER_ATTEMPT)}
    return hashlib.sha256(msgspec.json.encode(kept, order="sorted")).hexdigest()[:16]


def _ladder(failure: Failure, values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What can be tried, the cheapest first."""
    match failure.part:
        case Part.ACTOR:
            yield _smaller(values, _ACTOR, "ppo") | _smaller(values, _ROLLOUT, "log_prob")
            yield {f"{_ACTOR}.fsdp_config.param_offload": True, f"{_ACTOR}.fsdp_config.optimizer_offload": True}
        case Part.REFERENCE:  # its weights wait on the host anyway (verl's workers/engine/fsdp/transformer_impl.py: forward_only)
            yield _smaller(values, _REF, "log_prob")
        case Part.CRITIC:
            yield _smaller(values, _CRITIC, "ppo") | _smaller(values, _CRITIC, "forward")
            yield {f"{_CRITIC}.fsdp.param_offload": True, f"{_CRITIC}.fsdp.optimizer_offload": True}
    yield _share(failure, values)


def _smaller(values: Mapping[str, Any], owner: str, work: str) -> dict[str, Any]:
    """Half of what a worker computes at once: tokens where batches are dynamic, else rows."""
    kind = f"{owner}.{work}"
    dynamic = values.get(f"{kind}_use_dynamic_bsz", values.get(f"{owner}.use_dynamic_bsz"))
    key = f"{kind}_max_token_len_per_gpu" if dynamic else f"{kind}_micro_batch_size_per_gpu"
    now = values.get(key)
    longest = (values.get("data.max_prompt_length") or 0) + (values.get("data.max_response_length") or 0)
    if not isinstance(now, int) or now <= (longest if dynamic else 1):
        return {}
    return {key: max(now // 2, longest) if dynamic else _largest_divisor(now)}


def _largest_divisor(number: int) -> int:
    """The largest one but the number itself: what the number divided, it divides."""
    return next(number // divisor for divisor in range(2, number + 1) if number % divisor == 0)


def _share(failure: Failure, values: Mapping[str, Any]) -> dict[str, Any]:
    key = f"{_ROLLOUT}.gpu_memory_utilization"
    now = values.get(key)
    if not isinstance(now, int | float) or failure.part not in (Part.ROLLOUT, None):
        return {}
    more = any(word in line for word in _TOO_LITTLE for line in failure.lines)
    share = round(now / _STEP if more else now * _STEP, 3)
    return {key: share} if _LEAST_SHARE <= share <= _LARGEST_SHARE else {}

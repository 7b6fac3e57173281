"""Which throughput setting gives way when GPU memory runs out, and that nothing else does."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.fingerprint import leaves
from harness.repairs import THROUGHPUT, repair, repaired, training_digest
from harness.types import Failure, FailureKind, Part

ACTOR, REF, ROLLOUT, CRITIC = "actor_rollout_ref.actor", "actor_rollout_ref.ref", "actor_rollout_ref.rollout", "critic"


def out_of_memory(part: Part | None, line: str = "CUDA out of memory") -> Failure:
    return Failure(kind=FailureKind.GPU_MEMORY, lines=(line,), part=part)


def tree(*, dynamic: bool = False, micro: int = 32, share: float = 0.5) -> dict[str, Any]:
    """The part of verl's configuration that matters."""
    work = {
        "log_prob_use_dynamic_bsz": dynamic,
        "log_prob_micro_batch_size_per_gpu": None if dynamic else micro,
        "log_prob_max_token_len_per_gpu": 16384,
    }
    offload = {"param_offload": False, "optimizer_offload": False}
    return {
        "actor_rollout_ref": {
            "actor": {
                "optim": {"lr": 1e-6},
                "use_dynamic_bsz": dynamic,
                "ppo_micro_batch_size_per_gpu": None if dynamic else micro,
                "ppo_max_token_len_per_gpu": 16384,
                "fsdp_config": dict(offload),
            },
            "ref": {**work, "fsdp_config": dict(offload)},
            "rollout": {**work, "n": 8, "gpu_memory_utilization": share},
        },
        "critic": {
            "use_dynamic_bsz": dynamic,
            "ppo_micro_batch_size_per_gpu": None,
            "ppo_max_token_len_per_gpu": 32768,
            "forward_max_token_len_per_gpu": 32768,
            "fsdp": dict(offload),
        },
        "data": {"max_prompt_length": 1024, "max_response_length": 4096},
    }


def ladder(part: Part | None, config: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    """One repair after the other, until there is none left."""
    steps = []
    while change := repair(out_of_memory(part), config, **options):
        config = repaired(config, change)
        steps.append(change)
    return steps


def test_an_actor_computes_fewer_tokens_at_once_down_to_one_sequence_and_then_offloads() -> None:
    steps = ladder(Part.ACTOR, tree(dynamic=True))
    assert [step.get(f"{ACTOR}.ppo_max_token_len_per_gpu") for step in steps] == [8192, 5120, None]
    assert steps[-1] == {f"{ACTOR}.fsdp_config.param_offload": True, f"{ACTOR}.fsdp_config.optimizer_offload": True}


def test_a_micro_batch_becomes_a_divisor_of_itself() -> None:
    """What it divided, it still divides."""
    sizes = [step.get(f"{ACTOR}.ppo_micro_batch_size_per_gpu") for step in ladder(Part.ACTOR, tree(micro=12))]
    assert sizes == [6, 3, 1, None]


def test_the_references_settings_are_its_own_and_it_is_not_offloaded_for_verl_keeps_it_on_the_host() -> None:
    assert ladder(Part.REFERENCE, tree(micro=6)) == [{f"{REF}.log_prob_micro_batch_size_per_gpu": size} for size in (3, 1)]


def test_a_rollout_takes_less_where_others_hold_memory_and_more_where_its_share_is_too_small() -> None:
    assert repair(out_of_memory(Part.ROLLOUT), tree(share=0.5)) == {f"{ROLLOUT}.gpu_memory_utilization": 0.4}
    small = out_of_memory(Part.ROLLOUT, "ValueError: No available memory for the cache blocks.")
    assert repair(small, tree(share=0.4)) == {f"{ROLLOUT}.gpu_memory_utilization": 0.5}
    assert repair(small, tree(share=0.9)) == {}


def test_a_setting_that_is_swept_is_left_alone() -> None:
    swept = frozenset({f"{ACTOR}.ppo_micro_batch_size_per_gpu"})
    assert repair(out_of_memory(Part.ACTOR), tree(), swept) == {
        f"{ACTOR}.fsdp_config.param_offload": True,
        f"{ACTOR}.fsdp_config.optimizer_offload": True,
    }


@pytest.mark.parametrize("kind", [kind for kind in FailureKind if kind is not FailureKind.GPU_MEMORY])
def test_nothing_else_is_repaired(kind: FailureKind) -> None:
    assert repair(Failure(kind=kind, lines=(), part=Part.ACTOR), tree()) == {}


@given(part=st.sampled_from([None, *Part]), dynamic=st.booleans(), micro=st.integers(1, 64), share=st.floats(0.1, 0.9))
def test_a_repair_ends_and_never_changes_what_is_learned(part: Part | None, dynamic: bool, micro: int, share: float) -> None:
    config = tree(dynamic=dynamic, micro=micro, share=share)
    steps = ladder(part, config)
    assert len(steps) < 20
    seen = [config]
    for step in steps:
        assert step.keys() <= set(THROUGHPUT)
        seen.append(repaired(seen[-1], step))
    for before, after in pairwise(seen):
        assert training_digest(before) == training_digest(after)
        changed = {key for (key, old), (_, new) in zip(leaves(before), leaves(after), strict=True) if old != new}
        assert changed <= set(THROUGHPUT)


def test_the_digest_sees_every_knob() -> None:
    other = tree()
    other["actor_rollout_ref"]["rollout"]["n"] = 16
    assert training_digest(tree()) != training_digest(other)

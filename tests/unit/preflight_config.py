"""A legal verl config, from verl's own generated tree and the overrides of a small run on the CPU; and ways to change it."""

from __future__ import annotations

import copy
import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

ACTOR = "actor_rollout_ref.actor"
REF = "actor_rollout_ref.ref"
ROLLOUT = "actor_rollout_ref.rollout"
MODEL = "actor_rollout_ref.model"

CPU_PROFILE: dict[str, Any] = {
    "trainer.device": "cpu",
    "trainer.n_gpus_per_node": 1,
    "trainer.nnodes": 1,
    "trainer.total_training_steps": 30,
    "trainer.test_freq": 5,
    "algorithm.adv_estimator": "grpo",
    f"{MODEL}.external_lib": "harness.inside.platform",
    f"{MODEL}.use_remove_padding": False,
    f"{MODEL}.enable_gradient_checkpointing": False,
    f"{ACTOR}.strategy": "fsdp2",
    f"{ACTOR}.fsdp_config.strategy": "fsdp2",
    f"{ACTOR}.use_torch_compile": False,
    f"{ACTOR}.use_kl_loss": True,
    f"{ACTOR}.kl_loss_type": "low_var_kl",
    f"{ACTOR}.use_dynamic_bsz": True,
    f"{ACTOR}.ppo_max_token_len_per_gpu": 8192,
    f"{ACTOR}.ppo_mini_batch_size": 8,
    f"{REF}.fsdp_config.strategy": "fsdp2",
    f"{ROLLOUT}.name": "verl_sweep_cpu",
    f"{ROLLOUT}.n": 4,
    f"{ROLLOUT}.tensor_model_parallel_size": 1,
    f"{ROLLOUT}.agent.num_workers": 1,
    "data.train_batch_size": 16,
    "data.max_prompt_length": 32,
    "data.max_response_length": 8,
    "reward.num_workers": 1,
}


@cache
def _yaml() -> Any:
    spec = find_spec("verl")  # looks, and does not import
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("verl is not installed: there is no config tree to read")
    tree = OmegaConf.load(Path(spec.submodule_search_locations[0]) / "trainer/config/_generated_ppo_trainer.yaml")
    for role in (tree.actor_rollout_ref.actor, tree.actor_rollout_ref.ref, tree.actor_rollout_ref.rollout, tree.critic):
        del role.profiler  # no rule reads it, and it is most of the time that resolving takes
    return tree


def legal(folder: Path, **overrides: Any) -> dict[str, Any]:
    """The complete, resolved tree; `overrides` are dotted keys, applied before interpolations are resolved."""
    wanted = (folder, repr(overrides))
    if wanted not in _SEEN:
        _SEEN.clear()  # the tests of one folder follow one another
        _SEEN[wanted] = _resolved(folder, overrides)
    return copy.deepcopy(_SEEN[wanted])


_SEEN: dict[tuple[Path, str], dict[str, Any]] = {}


def _resolved(folder: Path, overrides: dict[str, Any]) -> dict[str, Any]:
    for name in ("train.parquet", "test.parquet"):
        (folder / name).touch()
    model = folder / "model"
    model.mkdir(exist_ok=True)
    kind = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    shape = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}
    (model / "config.json").write_text(json.dumps(kind | shape))
    for name in ("model.safetensors", "tokenizer.json", "chat_template.jinja"):
        (model / name).touch()
    tree = copy.deepcopy(_yaml())
    paths = {
        "data.train_files": str(folder / "train.parquet"),
        "data.val_files": [str(folder / "test.parquet")],
        f"{MODEL}.path": str(model),
    }
    for key, value in (CPU_PROFILE | paths | overrides).items():
        OmegaConf.update(tree, key, value, force_add=True)
    resolved = OmegaConf.to_container(tree, resolve=True)
    assert isinstance(resolved, dict)
    return resolved  # type: ignore[return-value]


def put(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy with one key of the resolved tree changed; nothing follows it, and only the key's own branch is copied."""
    first, _, rest = key.partition(".")
    child = config.get(first)
    return {**config, first: put(child if isinstance(child, dict) else {}, rest, value) if rest else value}


def without(config: dict[str, Any], key: str) -> dict[str, Any]:
    """A copy with one key, or a whole branch, taken out."""
    changed = copy.deepcopy(config)
    node = changed
    *path, last = key.split(".")
    for segment in path:
        node = node[segment]
    del node[last]
    return changed

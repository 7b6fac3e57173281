"""Which keys of verl's configuration an engine can change between two attempts; pure. An unknown key is structural.

Two attempts can share an engine when their fingerprints are equal: a digest over everything but the hot knobs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import msgspec

# Names and places of one attempt: they never describe what an engine is built for.
PER_ATTEMPT = (
    "trainer.experiment_name",
    "trainer.project_name",
    "trainer.default_local_dir",
    "trainer.resume_mode",
    "trainer.resume_from_path",
    "ray_kwargs.ray_init._temp_dir",
)

# Given anew to every process that reads it. docs/warm-engines.md has the reason for each.
HOT = (
    "actor_rollout_ref.actor.optim.*",
    "actor_rollout_ref.actor.clip_ratio*",
    "actor_rollout_ref.actor.tau_*",
    "actor_rollout_ref.actor.entropy_coeff",
    "actor_rollout_ref.actor.calculate_entropy",
    "actor_rollout_ref.actor.use_kl_loss",
    "actor_rollout_ref.actor.kl_loss_coef",
    "actor_rollout_ref.actor.kl_loss_type",
    "actor_rollout_ref.actor.policy_loss.*",
    "actor_rollout_ref.actor.loss_agg_mode",
    "actor_rollout_ref.actor.loss_scale_factor",
    "actor_rollout_ref.actor.ppo_mini_batch_size",
    "actor_rollout_ref.actor.ppo_epochs",
    "actor_rollout_ref.actor.shuffle",
    "actor_rollout_ref.actor.data_loader_seed",
    "actor_rollout_ref.rollout.n",
    "actor_rollout_ref.actor.rollout_n",  # verl's copies of it
    "actor_rollout_ref.ref.rollout_n",
    "critic.rollout_n",
    "actor_rollout_ref.rollout.seed",  # of requests without a seed of their own: there are none
    "actor_rollout_ref.rollout.temperature",
    "distillation.teacher_models.*.temperature",  # verl's copy of it; with a teacher an engine serves once anyway
    "actor_rollout_ref.rollout.top_k",
    "actor_rollout_ref.rollout.top_p",
    "actor_rollout_ref.rollout.val_kwargs.*",
    "algorithm.adv_estimator",
    "algorithm.filter_groups.*",
    "algorithm.gamma",
    "algorithm.lam",
    "algorithm.norm_adv_by_std_in_grpo",
    "algorithm.use_kl_in_reward",
    "algorithm.kl_penalty",
    "algorithm.kl_ctrl.*",
    "critic.optim.*",
    "critic.cliprange_value",
    "critic.ppo_mini_batch_size",
    "critic.ppo_epochs",
    "critic.shuffle",
    "critic.data_loader_seed",
    "critic.loss_agg_mode",
    "data.seed",
    "data.shuffle",
    "data.train_batch_size",
    "data.val_batch_size",
    "trainer.critic_warmup",
    "trainer.log_val_generations",
    "trainer.max_actor_ckpt_to_keep",
    "trainer.max_critic_ckpt_to_keep",
    "trainer.save_freq",
    "trainer.test_freq",
    "trainer.total_epochs",
    "trainer.total_training_steps",
    "trainer.val_before_train",
    "actor_rollout_ref.actor.fsdp_config.seed",  # read by a deterministic engine only, which is structural
    "actor_rollout_ref.ref.fsdp_config.seed",
    "critic.fsdp.seed",
)
_AGENT_LOOPS = "harness.inside.seeding.SeededAgentLoops"
_RESTORABLE = ("fsdp", "fsdp2")  # engines whose weights, optimizer and schedule can be set back


def is_hot(key: str) -> bool:
    """Whether an engine can take another value of this dotted key."""
    return any(fnmatchcase(key, pattern) for pattern in (*HOT, *PER_ATTEMPT))


def fingerprint(config: Mapping[str, Any]) -> str:
    """16 hexadecimal digits over the structural leaves of a resolved configuration."""
    structural = {key: value for key, value in leaves(config) if not is_hot(key)} | _models(config)
    return hashlib.sha256(msgspec.json.encode(structural, order="sorted")).hexdigest()[:16]


def once_only(config: Mapping[str, Any]) -> str | None:
    """Why an engine of this configuration serves one attempt only; None where it can serve several."""
    actor, rollout = _at(config, "actor_rollout_ref.actor"), _at(config, "actor_rollout_ref.rollout")
    if actor.get("strategy", "fsdp") not in _RESTORABLE:
        return f"the weights of a {actor['strategy']} engine are not set back"
    if _at(rollout, "agent").get("agent_loop_manager_class") != _AGENT_LOOPS:
        return f"agent loops keep their first settings, but for those of {_AGENT_LOOPS}"
    if _at(config, "trainer.v1").get("trainer_mode", "sync") != "sync":
        return "only the trainer mode sync is set back"
    if _at(config, "reward.reward_model").get("enable") or _at(config, "distillation").get("enabled"):
        return "models that reward or teach are not set back"
    return None


def _models(config: Mapping[str, Any]) -> dict[str, bool]:
    """Which models are there: hot knobs decide on it, and no engine gains or loses one."""
    algorithm, actor, critic = _at(config, "algorithm"), _at(config, "actor_rollout_ref.actor"), _at(config, "critic").get("enable")
    return {
        "critic": algorithm.get("adv_estimator") == "gae" if critic is None else bool(critic),
        "reference": bool(actor.get("use_kl_loss") or algorithm.get("use_kl_in_reward")),
    }


def _at(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The mapping at a dotted key; empty where there is none."""
    node: Any = config
    for name in key.split("."):
        node = node.get(name) if isinstance(node, Mapping) else None
    return node if isinstance(node, Mapping) else {}


def leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every (dotted key, value) of a nested mapping; a list is a leaf, and so is an empty mapping."""
    for name, value in config.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{key}.")
        else:
            yield key, value

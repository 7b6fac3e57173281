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

# Tried on a living engine, with metrics equal to those of a cold one.
HOT = (
    "actor_rollout_ref.actor.optim.*",
    "actor_rollout_ref.actor.clip_ratio*",
    "actor_rollout_ref.actor.entropy_coeff",
    "actor_rollout_ref.actor.kl_loss_coef",
    "actor_rollout_ref.actor.policy_loss.loss_mode",
    "actor_rollout_ref.actor.loss_agg_mode",
    "actor_rollout_ref.actor.ppo_mini_batch_size",
    "actor_rollout_ref.actor.ppo_epochs",
    "actor_rollout_ref.actor.data_loader_seed",
    "actor_rollout_ref.rollout.n",
    "actor_rollout_ref.actor.rollout_n",  # verl's copies of it
    "actor_rollout_ref.ref.rollout_n",
    "critic.rollout_n",
    "actor_rollout_ref.rollout.temperature",
    "algorithm.kl_ctrl.kl_coef",
    "data.seed",
    "data.train_batch_size",
    "trainer.save_freq",
    "trainer.test_freq",
    "trainer.total_epochs",
    "trainer.total_training_steps",
)


def is_hot(key: str) -> bool:
    """Whether an engine can take another value of this dotted key."""
    return any(fnmatchcase(key, pattern) for pattern in (*HOT, *PER_ATTEMPT))


def fingerprint(config: Mapping[str, Any]) -> str:
    """16 hexadecimal digits over the structural leaves of a resolved configuration."""
    structural = {key: value for key, value in leaves(config) if not is_hot(key)}
    return hashlib.sha256(msgspec.json.encode(structural, order="sorted")).hexdigest()[:16]


def leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every (dotted key, value) of a nested mapping; a list is a leaf, and so is an empty mapping."""
    for name, value in config.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{key}.")
        else:
            yield key, value

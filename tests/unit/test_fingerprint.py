"""Trials that differ in hot knobs share an engine; everything else, the unknown too, builds another."""

from __future__ import annotations

import copy
from fnmatch import fnmatchcase
from typing import Any

import pytest
from omegaconf import OmegaConf

from harness.fingerprint import HOT, PER_ATTEMPT, fingerprint, is_hot, leaves
from sweeps import verl_tree

CONFIG: dict[str, Any] = {
    "actor_rollout_ref": {
        "model": {"path": "tiny"},
        "actor": {"optim": {"lr": 1e-6}, "kl_loss_coef": 0.001, "clip_ratio_low": 0.2, "ulysses_sequence_parallel_size": 1},
        "rollout": {"n": 8, "temperature": 1.0, "seed": 1, "tensor_model_parallel_size": 1},
    },
    "data": {"seed": 1, "train_files": ["a", "b"]},
    "trainer": {"experiment_name": "trial-0000", "total_training_steps": 10},
}


def changed(key: str, value: object) -> dict[str, Any]:
    tree = copy.deepcopy(CONFIG)
    *path, last = key.split(".")
    node = tree
    for name in path:
        node = node.setdefault(name, {})
    node[last] = value
    return tree


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("actor_rollout_ref.actor.optim.lr", 1e-3),
        ("actor_rollout_ref.actor.optim.betas", [0.9, 0.95]),
        ("actor_rollout_ref.actor.kl_loss_coef", 0.1),
        ("actor_rollout_ref.actor.clip_ratio_low", 0.1),
        ("actor_rollout_ref.rollout.n", 4),
        ("actor_rollout_ref.rollout.temperature", 0.7),
        ("data.seed", 2),
        ("trainer.total_training_steps", 99),
        ("trainer.experiment_name", "trial-0001"),
        ("ray_kwargs.ray_init._temp_dir", "elsewhere"),
    ],
)
def test_a_hot_knob_leaves_the_fingerprint(key: str, value: object) -> None:
    assert is_hot(key)
    assert fingerprint(changed(key, value)) == fingerprint(CONFIG)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("actor_rollout_ref.model.path", "large"),
        ("actor_rollout_ref.actor.ulysses_sequence_parallel_size", 2),
        ("actor_rollout_ref.rollout.tensor_model_parallel_size", 2),
        ("actor_rollout_ref.rollout.max_num_seqs", 2),  # given to the decoding engine when it is built
        ("data.train_files", ["b", "a"]),
        ("a_key.that_nobody_knows", 1),
        ("a_key.that_nobody_knows", {}),
    ],
)
def test_any_other_key_changes_the_fingerprint(key: str, value: object) -> None:
    assert not is_hot(key)
    assert fingerprint(changed(key, value)) != fingerprint(CONFIG)


def test_the_order_of_keys_does_not_matter() -> None:
    assert fingerprint(dict(reversed(CONFIG.items()))) == fingerprint(CONFIG)


def test_no_name_is_both_hot_and_of_one_attempt() -> None:
    assert not set(HOT) & set(PER_ATTEMPT)


def test_every_hot_pattern_names_a_key_that_verl_has() -> None:
    tree = OmegaConf.to_container(verl_tree.load("ppo_trainer"), resolve=False)
    assert isinstance(tree, dict)
    known = {key for key, _ in leaves({str(name): value for name, value in tree.items()})}
    assert [pattern for pattern in HOT if not any(fnmatchcase(key, pattern) for key in known)] == []

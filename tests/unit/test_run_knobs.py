"""Claims about what was varied between runs, found in verl's own configurations."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from harness.runs.knobs import points, recordable
from sweeps import verl_tree

LR, KL, N = "actor_rollout_ref.actor.optim.lr", "actor_rollout_ref.actor.kl_loss_coef", "actor_rollout_ref.rollout.n"


def config(**changes: Any) -> dict[str, Any]:
    """verl's whole tree, resolved, as it logs it; a dot is written as two underscores."""
    tree = verl_tree.load("ppo_trainer")
    for key, value in {"actor_rollout_ref__rollout__name": "vllm", "reward__reward_model__rollout__name": "vllm", **changes}.items():
        OmegaConf.update(tree, key.replace("__", "."), value, force_add=True)
    found = OmegaConf.to_container(tree, resolve=True)
    assert isinstance(found, dict)
    return found


def test_a_knob_that_verl_copies_to_other_keys_is_one() -> None:
    first = config(actor_rollout_ref__rollout__n=8, actor_rollout_ref__actor__optim__lr=1e-6)
    second = config(actor_rollout_ref__rollout__n=16, actor_rollout_ref__actor__optim__lr=3e-6)
    assert second["critic"]["rollout_n"] == second["actor_rollout_ref"]["actor"]["rollout_n"] == 16
    assert points([first, second]) == [({LR: 1e-6, N: 8}, None), ({LR: 3e-6, N: 16}, None)]


def test_what_is_learned_from_is_a_knob_by_its_plainest_name() -> None:
    first = config(actor_rollout_ref__model__path="models/a", data__train_files=["x.parquet"], data__max_response_length=512)
    second = config(actor_rollout_ref__model__path="models/b", data__train_files=["x.parquet", "y.parquet"], data__max_response_length=1024)
    assert points([first, second])[1][0] == {
        "actor_rollout_ref.model.path": "models/b",
        "data.train_files": '["x.parquet", "y.parquet"]',
        "data.max_response_length": 1024,
    }


def test_names_places_ports_and_speed_are_no_knobs() -> None:
    other = config(
        trainer__experiment_name="second",
        trainer__project_name="another",
        trainer__default_local_dir="elsewhere",
        trainer__n_gpus_per_node=4,
        trainer__save_freq=20,
        trainer__logger=["console"],
        actor_rollout_ref__actor__ppo_micro_batch_size_per_gpu=2,
        actor_rollout_ref__actor__fsdp_config__param_offload=True,
        actor_rollout_ref__rollout__gpu_memory_utilization=0.7,
        actor_rollout_ref__rollout__tensor_model_parallel_size=4,
        actor_rollout_ref__rollout__prometheus__port=9999,
        ray_kwargs__ray_init__num_cpus=8,
    )
    assert points([config(), other]) == [({}, None), ({}, None)]


def test_a_seed_is_no_knob_and_the_one_that_was_varied_counts() -> None:
    seeds = [1, 2]
    assert points([config(data__seed=seed) for seed in seeds]) == [({}, 1), ({}, 2)]
    assert points([config(data__seed=5, actor_rollout_ref__rollout__seed=seed) for seed in seeds]) == [({}, 1), ({}, 2)]
    assert points([config(data__seed=5), config(data__seed=5)]) == [({}, 5), ({}, 5)]


def test_a_key_that_one_version_of_verl_lacks_is_no_value_there() -> None:
    older = config(actor_rollout_ref__actor__kl_loss_coef=0.01)
    del older["actor_rollout_ref"]["actor"]["kl_loss_coef"]
    assert points([older, config(actor_rollout_ref__actor__kl_loss_coef=0.02)]) == [({KL: None}, None), ({KL: 0.02}, None)]


def test_all_that_another_version_of_verl_has_added_is_one_knob_and_keeps_its_runs_apart() -> None:
    newer = config(data__new_key="a", trainer__v1__new__key="b", algorithm__new__deep__key=1)
    assert points([config(), newer, newer]) == [
        ({"data.new_key": None}, None),
        ({"data.new_key": "a"}, None),
        ({"data.new_key": "a"}, None),
    ]


def test_no_secret_is_recorded() -> None:
    tree = {
        "ray_kwargs": {"ray_init": {"runtime_env": {"env_vars": {"WANDB_API_KEY": "k1"}}}},
        "reward": {"url": "https://user:k2@host/x", "api_key": "k3", "judges": [{"HF_TOKEN": "k4", "max_tokens": 5}]},
        "trainer": {"nnodes": 1},
    }
    assert recordable(tree) == {"reward": {"url": "https://user@host/x", "judges": [{"max_tokens": 5}]}, "trainer": {"nnodes": 1}}
    secrets = [{"reward": {"api_key": f"k{place}", "url": f"https://user:k{place}@host/{place}"}} for place in (5, 6)]
    assert points(secrets) == [({"reward.url": "https://user@host/5"}, None), ({"reward.url": "https://user@host/6"}, None)]


def test_what_a_terminal_would_obey_is_no_value() -> None:
    configs = [{"reward": {"name": f"\x1b[2J{name}"}} for name in ("a", "b")]
    assert points(configs) == [({"reward.name": "a"}, None), ({"reward.name": "b"}, None)]

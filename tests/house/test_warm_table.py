"""docs/warm-engines.md says of every key that conf/ sets whether it is hot; the code agrees, and so do the knobs' short names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from harness.fingerprint import fingerprint, is_hot, leaves
from sweeps import verl_tree
from sweeps.config import trainer_config
from sweeps.rehearse import reuse_note

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| (`.*`) \| (hot|structural) \|", re.MULTILINE)
OTHER = {"rollout_n": 3, "batch_size": 16, "mini_batch_size": 4, "steps": 7, "seed": 9}  # the rest take any number

WITHOUT_KL = ("gspo", "dapo")


def table() -> dict[str, bool]:
    """Pattern -> whether it is hot."""
    rows = ROW.findall((ROOT / "docs" / "warm-engines.md").read_text())
    return {pattern: verdict == "hot" for patterns, verdict in rows for pattern in re.findall(r"`([^`]+)`", patterns)}


def keys_of_conf() -> set[str]:
    trees = [OmegaConf.to_container(OmegaConf.load(file)) for file in (ROOT / "conf").rglob("*.yaml")]
    keys = {key for tree in trees if isinstance(tree, dict) for key, _ in leaves({str(name): value for name, value in tree.items()})}
    return {key for key in keys if key.split(".")[0] in verl_tree.top_level_keys()}


def test_every_key_of_conf_is_in_the_table_once_and_is_what_it_says() -> None:
    rows = table()
    found = {key: [hot for pattern, hot in rows.items() if fnmatchcase(key, pattern)] for key in keys_of_conf()}
    assert len(found) > 50
    assert {key: verdicts for key, verdicts in found.items() if verdicts != [is_hot(key)]} == {}


def test_every_row_of_the_table_stands_for_a_key() -> None:
    keys = keys_of_conf()
    assert [pattern for pattern in table() if not any(fnmatchcase(key, pattern) for key in keys)] == []


@pytest.fixture
def hydra(fresh_hydra: None) -> Iterator[None]:
    with initialize_config_module("conf", version_base="1.3"):
        yield


LIKE_THESE = [pytest.param(name, marks=pytest.mark.slow) for name in ("dapo", "rloo", "reinforce_plus_plus", "gspo")]


@pytest.mark.parametrize("algorithm", ["grpo", "ppo", *LIKE_THESE])
def test_every_short_name_is_hot_with_all_that_follows_it(hydra: None, algorithm: str) -> None:
    files = [ROOT / "conf/knobs.yaml", ROOT / f"conf/algorithm/{algorithm}.yaml"]
    names = {name for file in files for name, value in OmegaConf.load(file).items() if not OmegaConf.is_config(value)}
    base = trainer_config(compose("config", overrides=[f"algorithm={algorithm}"]))
    assert {"lr", "kl_coef", "rollout_n", "seed", "steps"} <= names
    for name in names - ({"kl_coef"} if algorithm in WITHOUT_KL else set()):
        other = trainer_config(compose("config", overrides=[f"algorithm={algorithm}", f"{name}={OTHER.get(str(name), 0.123)}"]))
        assert other != base, name
        assert fingerprint(other) == fingerprint(base), name


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["lr=1e-3", "rollout_n=4"], "all trials can share an engine"),
        (
            ["actor_rollout_ref.actor.ppo_max_token_len_per_gpu=99"],
            "that differ in actor_rollout_ref.actor.ppo_max_token_len_per_gpu, ",
        ),
        (["actor_rollout_ref.actor.use_kl_loss=false"], "that differ in which models there are start"),
    ],
)
def test_a_launch_says_what_its_trials_share(hydra: None, overrides: list[str], words: str) -> None:
    first, last = trainer_config(compose("config")), trainer_config(compose("config", overrides=overrides))
    assert words in reuse_note([first, last])


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["engine=megatron", "resources=gpu_1", "rollout=vllm"], "megatron"),
        (["actor_rollout_ref.rollout.agent.agent_loop_manager_class=my.Loops"], "agent loops"),
        (["trainer.v1.trainer_mode=colocate_async"], "trainer mode"),
        (["reward.reward_model.enable=true"], "reward"),
    ],
)
def test_an_engine_that_cannot_go_back_serves_once(hydra: None, overrides: list[str], words: str) -> None:
    tree = trainer_config(compose("config", overrides=overrides))
    note = reuse_note([tree, tree])
    assert note.startswith("each trial starts an engine of its own")
    assert words in note

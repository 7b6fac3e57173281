"""verl's flattened tree, which every configuration is built on, is the tree that verl itself composes."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from sweeps import verl_tree


@pytest.mark.usefixtures("fresh_hydra")
@pytest.mark.parametrize("name", ["ppo_trainer", "ppo_megatron_trainer"])
def test_the_flattened_tree_is_the_one_that_verl_composes(name: str) -> None:
    with initialize_config_dir(str(verl_tree.folder()), version_base=None):
        composed = OmegaConf.to_container(compose(name))
    assert isinstance(composed, dict)
    composed.pop("model_engine")  # the choice that verl composes by; nothing in verl reads it afterwards
    flattened = OmegaConf.to_container(verl_tree.load(name))
    assert isinstance(flattened, dict)
    flattened.pop("model_engine", None)
    assert flattened == composed


def test_a_tree_is_a_new_object_at_each_call() -> None:
    first = verl_tree.load("ppo_trainer")
    first.trainer.total_epochs = -1
    assert verl_tree.load("ppo_trainer").trainer.total_epochs != -1

"""Models with code of their own train like any other: GRPO, and PPO with a critic out of the same code."""

from __future__ import annotations

import importlib.util

import pytest
import tiny_models
from verl_rig import Rig, make_assets

from harness.types import RunState

pytestmark = [
    pytest.mark.slow,
    pytest.mark.verl,
    pytest.mark.timeout(900),
    pytest.mark.skipif(importlib.util.find_spec("verl") is None, reason="needs the cpu extra"),
]

KNOBS = (
    "steps=3",
    "batch_size=8",
    "rollout_n=16",  # random answers: some of so many hold a number, and score
    "lr=1e-3",
    "trainer.val_before_train=false",
    "trainer.save_freq=3",
    "policy.trust_remote_code=true",
    "engine.gradient_checkpointing=false",
)


@pytest.fixture(scope="module")
def assets(tmp_path_factory):
    return make_assets(tmp_path_factory.mktemp("assets"))


@pytest.mark.parametrize(("model", "algorithm"), [("pangu", "grpo"), ("pangu", "ppo"), ("wren", "ppo")])
def test_a_model_with_code_of_its_own_trains_and_its_engine_goes_back_to_the_first_weights(tmp_path, assets, model, algorithm):
    folder = tmp_path / model
    folder.mkdir()
    tiny_models.MAKERS[model](folder)
    rig = Rig(tmp_path, assets, serves=2, algorithm=algorithm, policy="hf")
    first, again = (rig.train(*KNOBS, f"policy.path={folder}") for _ in range(2))
    assert rig.leave() == 0, rig.log()[-3000:]
    assert first.result().state is RunState.SUCCEEDED
    assert sorted(first.rows()) == [1, 2, 3]
    for row in first.rows().values():
        assert row["training/rollout_actor_probs_pearson_corr"] > 0.999
        assert algorithm == "grpo" or row["critic/vf_loss"] > 0
    assert any(row["actor/grad_norm"] > 0 for row in first.rows().values())
    assert again.equals(first)

"""LoRA on the CPU: adapters are trained and set back, the frozen model is the reference, and the rollout is given the merged weights."""

from __future__ import annotations

import importlib.util

import pytest
from verl_rig import Rig, make_assets

pytestmark = [
    pytest.mark.verl,
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("verl") is None, reason="needs the cpu extra"),
]

KNOBS = ("adapter=lora", "lora_rank=8", "lr=1e-2", "batch_size=8", "rollout_n=4", "steps=3", "trainer.val_before_train=false")


def test_adapters_are_trained_and_set_back(tmp_path):
    rig = Rig(tmp_path, make_assets(tmp_path / "assets"), serves=3)
    first, other, again = rig.train(*KNOBS), rig.train(*KNOBS, "seed=5", "lr=1e-3"), rig.train(*KNOBS)
    assert rig.leave() == 0, rig.log()[-3000:]
    assert again.equals(first)
    assert other.training() != first.training()
    rows = first.rows()
    assert rows[1]["actor/kl_loss"] == 0  # adapters begin as nothing: the actor is its own reference
    assert rows[3]["actor/kl_loss"] > 0.01
    assert all(row["training/rollout_actor_probs_pearson_corr"] > 0.999 for row in rows.values())


def test_a_critic_with_adapters_judges_with_them(tmp_path):
    rig = Rig(tmp_path, make_assets(tmp_path / "assets"), serves=1)
    trained = rig.train(*KNOBS, "algorithm=ppo", "rollout_n=1", "critic_lr=1e-2")
    assert rig.leave() == 0, rig.log()[-3000:]
    rows = trained.rows()
    # One update a step: what the critic said of the answers before it is what it says at its beginning, with or without its adapters.
    gaps = [abs(rows[step]["critic/values/mean"] - rows[step]["critic/vpred_mean"]) for step in (1, 2, 3)]
    assert max(gaps) < 1e-4, gaps
    assert abs(rows[3]["critic/values/mean"] - rows[1]["critic/values/mean"]) > 1e-3  # and they have learned

"""PPO on the CPU: a critic is trained beside the actor, and set back with it."""

from __future__ import annotations

import importlib.util

import pytest
from verl_rig import Rig, make_assets

from harness.types import RunState

pytestmark = [
    pytest.mark.verl,
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("verl") is None, reason="needs the cpu extra"),
]


def test_a_critic_is_trained_and_set_back(tmp_path):
    assets = make_assets(tmp_path / "assets")
    rig = Rig(tmp_path, assets, serves=3, algorithm="ppo")
    knobs = ("steps=2", "batch_size=8", "lr=1e-3", "trainer.val_before_train=false")
    first, _, again = rig.train(*knobs), rig.train(*knobs, "critic.optim.lr=1e-3", "seed=5"), rig.train(*knobs)
    assert rig.leave() == 0, rig.log()[-3000:]
    assert first.result().state is RunState.SUCCEEDED
    assert first.rows()[2]["critic/vf_loss"] > 0
    assert again.equals(first)
    cold = Rig(tmp_path / "cold", assets, algorithm="ppo")
    assert cold.train(*knobs).equals(first)
    assert cold.leave() == 0

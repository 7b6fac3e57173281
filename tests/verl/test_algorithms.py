"""Every algorithm of conf/ that needs no critic trains for real, bit by bit the same in an engine that has trained another one before."""

from __future__ import annotations

import importlib.util

import pytest
from verl_rig import Rig, RigAttempt, make_assets

from harness.fingerprint import fingerprint
from harness.types import RunState

pytestmark = [
    pytest.mark.verl,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(importlib.util.find_spec("verl") is None, reason="needs the cpu extra"),
]

KNOBS = ("batch_size=8", "mini_batch_size=4", "steps=3", "lr=1e-3", "rollout_n=4", "trainer.val_before_train=false")
OVERLONG = "reward.reward_kwargs.overlong_buffer_cfg.enable=true"  # its `len` is 1, and an answer of this task has up to 4 tokens


@pytest.fixture(scope="module")
def assets(tmp_path_factory):
    return make_assets(tmp_path_factory.mktemp("assets"))


def trained_in_turn(folder, assets, *algorithms: str, knobs: tuple[str, ...] = KNOBS) -> list[RigAttempt]:
    """One engine: each algorithm, then the first one again."""
    rig = Rig(folder, assets, serves=len(algorithms) + 1, algorithm=algorithms[0])
    attempts = []
    for algorithm in (*algorithms, algorithms[0]):
        rig.algorithm = algorithm
        attempts.append(rig.train(*knobs))
    assert rig.leave() == 0, rig.log()[-3000:]
    assert [attempt.result().state for attempt in attempts] == [RunState.SUCCEEDED] * len(attempts)
    return attempts


def test_those_with_a_reference_share_an_engine(tmp_path, assets):
    names = ("rloo", "reinforce_plus_plus", "grpo")
    assert len({fingerprint(Rig(tmp_path / name, assets, algorithm=name).config(*KNOBS)) for name in names}) == 1
    rloo, reinforce, grpo, again = trained_in_turn(tmp_path, assets, *names)
    assert again.equals(rloo)
    assert rloo.training() != reinforce.training() != grpo.training()
    # The KL term is in the reward of two, and in the loss of the third.
    assert rloo.rows()[3]["actor/reward_kl_penalty"] > 0
    assert reinforce.rows()[3]["actor/reward_kl_penalty"] > 0
    assert grpo.rows()[3]["actor/kl_loss"] > 0


def test_gspo_is_learned_from_within_its_narrow_limits(tmp_path, assets):
    first, again = trained_in_turn(tmp_path, assets, "gspo")
    assert again.equals(first)
    assert first.rows()[3]["actor/pg_clipfrac"] > 0
    assert "actor/kl_loss" not in first.rows()[3]


def test_dapo_fills_its_batches_with_groups_that_differ(tmp_path, assets):
    first, again = trained_in_turn(tmp_path, assets, "dapo", knobs=(*KNOBS, OVERLONG))
    cold = Rig(tmp_path / "cold", assets, algorithm="dapo")
    assert cold.train(*KNOBS, OVERLONG).equals(first)
    assert cold.leave() == 0
    assert again.equals(first)
    rows = first.rows()
    assert sum(row.get("training/filter_groups/evicted_samples", 0) for row in rows.values()) > 0
    assert all(row["training/rollout_actor_probs_pearson_corr"] > 0.99 for row in rows.values())

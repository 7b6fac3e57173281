"""Real verl in an engine: an attempt that trains to its end, one that is asked to stop, and a critic."""

from __future__ import annotations

import importlib.util

import pytest
from verl_rig import PATIENCE_S, Rig, make_assets

from harness.types import Reason, RunState

pytestmark = [pytest.mark.verl, pytest.mark.skipif(importlib.util.find_spec("verl") is None, reason="needs the cpu extra")]


@pytest.fixture(scope="module")
def assets(tmp_path_factory):
    return make_assets(tmp_path_factory.mktemp("assets"))


def test_attempt_trains_with_the_actors_own_weights_and_succeeds(tmp_path, assets):
    rig = Rig(tmp_path, assets)
    attempt = rig.train("steps=3", "batch_size=8", "rollout_n=4", "lr=1e-3", "trainer.test_freq=3")
    assert rig.process.wait(PATIENCE_S) == 0, rig.log()[-3000:]
    result, rows = attempt.result(), attempt.rows()
    assert (result.state, result.reason, result.steps) == (RunState.SUCCEEDED, Reason.FINISHED, 3)
    assert sorted(rows) == [0, 1, 2, 3]
    assert all(rows[step]["training/rollout_actor_probs_pearson_corr"] > 0.99 for step in (1, 2, 3))
    assert rows[1]["actor/kl_loss"] == 0
    assert rows[3]["actor/kl_loss"] > 0
    assert {step for step in rows if "val-core/chain_sum/acc/mean@1" in rows[step]} == {0, 3}
    assert [name for name in attempt.events() if name in ("accepted", "rollout", "training")] == ["accepted", "rollout", "training"]
    assert b"succeeded" in attempt.wandb_bytes().lower()
    assert "Traceback" not in rig.log()


def test_a_critic_is_trained_on_the_cpu_too(tmp_path, assets):
    """And set back for the next attempt, like the actor."""
    rig = Rig(tmp_path, assets, serves=3, algorithm="ppo")
    knobs = ("steps=2", "batch_size=8", "lr=1e-3", "trainer.val_before_train=false")
    first, _, again = rig.train(*knobs), rig.train(*knobs, "critic.optim.lr=1e-3", "seed=5"), rig.train(*knobs)
    assert rig.process.wait(PATIENCE_S) == 0, rig.log()[-3000:]
    assert first.result().state is RunState.SUCCEEDED
    assert first.rows()[2]["critic/vf_loss"] > 0
    assert again.training() == first.training()
    cold = Rig(tmp_path / "cold", assets, algorithm="ppo")
    assert cold.train(*knobs).training() == first.training()
    assert cold.leave() == 0


def test_stop_request_ends_the_attempt_at_a_step_and_closes_its_run(tmp_path, assets):
    rig = Rig(tmp_path, assets)
    attempt = rig.give("steps=500", "batch_size=8", "rollout_n=2", "trainer.val_before_train=false")
    rig.wait(lambda: 2 in attempt.rows())
    request = rig.stop(attempt)
    assert rig.process.wait(30) == 0, rig.log()[-3000:]
    result = attempt.result()
    assert (result.state, result.reason, result.message) == (RunState.STOPPED, Reason.PRUNED, request.message)
    assert 2 <= result.steps == max(attempt.rows()) < 500
    assert result.ended_at - request.requested_at < 15
    assert exit_codes(attempt.wandb_bytes()) == [0]
    assert all(word in attempt.wandb_bytes() for word in (b"pruned", b"harness/state", b"STOPPED"))


def exit_codes(log: bytes) -> list[int]:
    """Of the exit records in a W&B run's log. The format is LevelDB's: blocks of 32 KiB with records of checksum, length, type, data."""
    from wandb.proto import wandb_internal_pb2

    codes, whole, place = [], b"", 7  # behind the file's own header
    while place + 7 <= len(log):
        if (room := 32768 - place % 32768) < 7:
            place += room
            continue
        length, part = int.from_bytes(log[place + 4 : place + 6], "little"), log[place + 6]
        whole += log[place + 7 : place + 7 + length]
        place += 7 + length
        if part in (1, 4):  # a whole record, or its last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            if record.WhichOneof("record_type") == "exit":
                codes.append(record.exit.exit_code)
            whole = b""
    return codes

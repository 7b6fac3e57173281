"""A warm run is a cold run: whatever an engine has trained before, an attempt's metrics are those of an engine that has trained nothing."""

from __future__ import annotations

import importlib.util
import math
import re
from dataclasses import dataclass

import pytest
from verl_rig import PATIENCE_S, Rig, RigAttempt, exit_codes, make_assets

from harness import records
from harness.types import AttemptResult, Reason, RunState, StopRequest

pytestmark = [
    pytest.mark.verl,
    pytest.mark.timeout(600),
    pytest.mark.skipif(importlib.util.find_spec("verl") is None, reason="needs the cpu extra"),
]

COMMON = ("batch_size=8", "trainer.val_before_train=false")
X = (*COMMON, "steps=4", "lr=1e-3", "kl_coef=1e-3", "rollout_n=4")
# Everything else: what an attempt leaves behind it should show in the next.
Z = (
    *COMMON,
    "steps=3",
    "lr=5e-3",
    "kl_coef=0.1",
    "rollout_n=2",
    "seed=7",
    "temperature=0.8",
    "clip_high=0.4",
    "entropy_coef=0.01",
    "mini_batch_size=4",
    "trainer.test_freq=2",
    "actor_rollout_ref.actor.optim.lr_warmup_steps=2",
    "actor_rollout_ref.actor.optim.weight_decay=0.1",
    "actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-mean",
    "actor_rollout_ref.actor.ppo_epochs=2",
    "data.train_batch_size=16",
)


@dataclass(frozen=True)
class Warm:
    """One engine's attempts, in this order."""

    rig: Rig
    first: RigAttempt  # of X
    request: StopRequest
    stopped: RigAttempt  # of Z without an end, in the midst of its rollouts
    again: RigAttempt  # of X
    other: RigAttempt  # of Z
    half: RigAttempt  # of X up to step 2, with a checkpoint
    resumed: RigAttempt  # and on to step 4
    last: RigAttempt  # of X
    broken: RigAttempt  # of X with a loss that does not exist
    status: int  # the engine's exit status after it


@pytest.fixture(scope="module")
def assets(tmp_path_factory):
    return make_assets(tmp_path_factory.mktemp("assets"))


@pytest.fixture(scope="module")
def warm(tmp_path_factory, assets):
    rig = Rig(tmp_path_factory.mktemp("warm"), assets, serves=12)
    first = rig.train(*X)
    stopped = rig.give(*Z, "steps=500")
    rig.wait(lambda: 2 in stopped.rows())
    request = rig.stop(stopped)
    rig.wait(stopped.paths.result.exists)
    again, other = rig.train(*X), rig.train(*Z)
    half = rig.train(*X, "steps=2", "trainer.save_freq=2")
    resumed = rig.train(*X, trial=int(re.sub(r"\D", "", half.paths.trial.root.name)))
    last = rig.train(*X)
    broken = rig.train(*X, "actor_rollout_ref.actor.policy_loss.loss_mode=nosuch")
    return Warm(rig, first, request, stopped, again, other, half, resumed, last, broken, rig.process.wait(PATIENCE_S))


def test_the_second_of_an_engine_equals_its_first_bit_by_bit_after_one_that_was_stopped(warm):
    assert warm.stopped.result().reason is Reason.PRUNED
    assert sorted(warm.first.rows()) == [1, 2, 3, 4]
    assert warm.again.equals(warm.first)


def test_the_last_of_an_engine_equals_its_first_bit_by_bit(warm):
    assert warm.last.equals(warm.first)


@pytest.mark.slow
def test_it_equals_one_of_an_engine_that_has_trained_nothing(warm, assets, tmp_path):
    cold = Rig(tmp_path, assets)
    attempt = cold.train(*Z)
    assert cold.leave() == 0
    assert sorted(attempt.rows()) == [1, 2, 3]
    assert any(name.startswith("val-core/") for name in attempt.rows()[2])
    assert warm.other.equals(attempt)


@pytest.mark.slow
def test_it_equals_one_of_an_engine_that_stood_by_for_another(warm, assets, tmp_path):
    rig = Rig(tmp_path, assets, serves=2)
    rig.stand_by(*Z)
    result = records.read(rig.paths.warm_up.result, AttemptResult)
    assert (result.state, result.steps) == (RunState.SUCCEEDED, 0)
    attempt = rig.train(*X)
    assert rig.leave() == 0
    assert attempt.event("accepted").data["served"] == 1
    assert attempt.equals(warm.first)


def test_an_attempt_that_goes_on_from_a_checkpoint_equals_one_that_was_never_interrupted(warm):
    assert sorted(warm.resumed.rows()) == [3, 4]
    assert warm.resumed.equals(warm.first, after=2)


def test_the_metrics_are_those_of_a_training(warm):
    """Else equality would say little."""
    rows = warm.first.rows()
    assert len({row["actor/grad_norm"] for row in rows.values()}) == 4
    assert rows[4]["actor/kl_loss"] > rows[1]["actor/kl_loss"] == 0
    assert all(row["training/rollout_actor_probs_pearson_corr"] > 0.99 for row in rows.values())
    assert all(math.isfinite(value) for row in warm.first.training().values() for value in row.values() if isinstance(value, float))
    assert warm.other.training()[1] != warm.first.training()[1]


def test_a_stop_request_ends_an_attempt_without_force_and_closes_its_run(warm):
    result, rows = warm.stopped.result(), warm.stopped.rows()
    assert (result.state, result.reason, result.message) == (RunState.STOPPED, Reason.PRUNED, warm.request.message)
    assert 2 <= result.steps == max(rows) < 500
    assert result.ended_at - warm.request.requested_at < 15
    assert exit_codes(warm.stopped.wandb_bytes()) == [0]
    assert b"harness/state" in warm.stopped.wandb_bytes()


def test_an_attempt_that_trained_to_its_end_says_so(warm):
    result = warm.first.result()
    assert (result.state, result.reason, result.steps) == (RunState.SUCCEEDED, Reason.FINISHED, 4)
    assert [name for name in warm.first.events() if name in ("accepted", "rollout", "training")] == ["accepted", "rollout", "training"]
    assert b"COMPLETE" in warm.first.wandb_bytes()
    assert "Traceback" not in warm.rig.log()[: warm.broken.event("given_slot").data["log_offset"]]


def test_every_attempt_has_a_run_of_its_own(warm):
    for attempt in (warm.first, warm.stopped, warm.again, warm.other):
        assert len(attempt.paths.wandb_runs) == 1
    assert all(word in warm.stopped.wandb_bytes() for word in (b"pruned", b"PRUNED"))
    assert b"pruned" not in warm.again.wandb_bytes()


def test_a_hand_over_is_recorded_by_phase_and_takes_a_moment(warm):
    phases = warm.again.event("handed_over").data["phases"]
    assert {"config", "data", "workers", "rollout", "agent_loops"} <= phases.keys()
    assert sum(phases.values()) < 10


def test_the_engine_trusted_itself_throughout(warm):
    names = [event.name for event in records.events(warm.rig.paths.events)]
    assert names == ["settled"] * 7 + ["closed"]
    assert {attempt.result().state for attempt in (warm.again, warm.other, warm.resumed, warm.last)} == {RunState.SUCCEEDED}


def test_an_attempt_that_fails_ends_its_engine(warm):
    result = warm.broken.result()
    assert (result.state, result.reason) == (RunState.FAILED, Reason.CRASHED)
    assert "nosuch" in result.message
    assert warm.status == 1
    closed = [event for event in records.events(warm.rig.paths.events) if event.name == "closed"]
    assert [event.data["why"] for event in closed] == ["an attempt ended as crashed"]

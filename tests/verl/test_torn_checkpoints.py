"""A trial goes on from its newest checkpoint that is whole, and a full disk costs it an attempt and a sentence, not a torn checkpoint."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import pytest
from verl_rig import PATIENCE_S, Rig, RigAttempt, make_assets

from harness import checkpoints, records
from harness.types import Event, Reason, RunState

pytestmark = [
    pytest.mark.verl,
    pytest.mark.slow,  # tests/unit/test_checkpoints.py tears smaller ones
    pytest.mark.timeout(600),
    pytest.mark.skipif(importlib.util.find_spec("verl") is None, reason="needs the cpu extra"),
]

X = ("batch_size=8", "lr=1e-3", "kl_coef=1e-3", "rollout_n=4", "trainer.test_freq=2")
SAVING = ("trainer.save_freq=1", "trainer.max_actor_ckpt_to_keep=3")


@dataclass(frozen=True, kw_only=True)
class Torn:
    """Attempts of one trial, one after the other in one engine, and another trial that was never interrupted."""

    rig: Rig
    whole: RigAttempt  # steps 1 to 8 of another trial
    first: RigAttempt  # steps 1 to 3; then the checkpoint of step 3 is truncated
    second: RigAttempt  # steps 3 and 4; then the checkpoint of step 4 is as good as one that was being written
    third: RigAttempt  # step 4 again, and no further; then none is whole
    fourth: RigAttempt  # all steps; then the last one takes more than the disk holds
    full: RigAttempt
    kept: list[int]  # steps of whole checkpoints after the fourth
    preempted: RigAttempt  # of a third trial, which never asked for a checkpoint
    resumed: RigAttempt  # up to step 8
    unmeasured: RigAttempt  # of a fourth one: two steps, of which the last one's row, with its validation, is lost
    measured: RigAttempt
    nothing_left: RigAttempt


@pytest.fixture(scope="module")
def torn(tmp_path_factory):
    rig = Rig(tmp_path_factory.mktemp("torn"), make_assets(tmp_path_factory.mktemp("assets")), serves=20)
    whole = rig.train(*X, "steps=8")
    preempted = rig.give(*X, "steps=8")
    rig.wait(lambda: 1 in preempted.rows())
    rig.stop(preempted, Reason.INTERRUPTED)
    rig.wait(preempted.paths.result.exists)
    resumed = rig.train(*X, "steps=8", trial=preempted.paths.trial.number)
    unmeasured = rig.train(*X, *SAVING, "steps=2")
    logged = unmeasured.paths.metrics.read_bytes().splitlines(keepends=True)
    unmeasured.paths.metrics.write_bytes(b"".join(logged[:-1]))
    measured, nothing_left = (rig.train(*X, *SAVING, "steps=2", trial=unmeasured.paths.trial.number) for _ in range(2))
    first = rig.train(*X, *SAVING, "steps=3")
    trial = first.paths.trial
    with next((trial.checkpoints / "global_step_3/actor").glob("model_*")).open("rb+") as file:
        file.truncate(1000)
    second = rig.train(*X, *SAVING, "steps=4", trial=trial.number)
    (trial.checkpoints / "global_step_4" / checkpoints.SEAL).unlink()
    third = rig.train(*X, *SAVING, "steps=4", trial=trial.number)
    for checkpoint in checkpoints.complete(trial.checkpoints):
        (checkpoint.path / "data.pt").unlink()
    (trial.checkpoints / checkpoints.TRACKER).write_text("")
    fourth = rig.train(*X, *SAVING, "steps=4", trial=trial.number)
    kept = [checkpoint.step for checkpoint in checkpoints.complete(trial.checkpoints)]
    with (trial.checkpoints / "global_step_4/padding").open("wb") as file:
        file.truncate(2**42)  # on paper only
    checkpoints.seal(trial.checkpoints, 4)
    full = rig.train(*X, *SAVING, "steps=5", trial=trial.number)
    assert rig.process.wait(PATIENCE_S) == 1
    return Torn(
        rig=rig,
        whole=whole,
        first=first,
        second=second,
        third=third,
        fourth=fourth,
        full=full,
        kept=kept,
        preempted=preempted,
        resumed=resumed,
        unmeasured=unmeasured,
        measured=measured,
        nothing_left=nothing_left,
    )


def said(attempt: RigAttempt) -> list[str]:
    return [event.data["message"] for event in records.events(attempt.paths.events) if event.name == "torn_checkpoint"]


def resumed(attempt: RigAttempt) -> list[int]:
    found: list[Event] = [event for event in records.events(attempt.paths.events) if event.name == "resumed"]
    return [event.data["step"] for event in found]


def test_a_truncated_checkpoint_is_passed_over_for_the_one_before_it(torn):
    assert resumed(torn.second) == [2]
    assert said(torn.second)[0].startswith(
        "goes on from step 2: the checkpoint of step 3 is torn (actor/model_world_size_1_rank_0.pt has 1000"
    )
    assert sorted(torn.second.rows()) == [3, 4]


def test_a_checkpoint_that_was_never_finished_is_passed_over_though_verl_noted_it(torn):
    assert resumed(torn.third) == [3]
    assert said(torn.third) == ["goes on from step 3: the checkpoint of step 4 was never finished"]


def test_a_trial_without_a_whole_checkpoint_begins_anew(torn):
    assert resumed(torn.fourth) == []
    assert said(torn.fourth)[0].startswith("begins anew: the checkpoint of step 4 lacks data.pt; the checkpoint of step 3 lacks data.pt")


def test_whatever_was_torn_the_values_are_those_of_a_trial_that_was_never_interrupted(torn):
    whole = torn.whole.training()
    for attempt, steps in ((torn.second, range(3, 5)), (torn.third, range(4, 5)), (torn.fourth, range(5))):
        assert attempt.training() == {step: whole[step] for step in steps}


def test_a_preempted_trial_saves_unasked_and_goes_on_without_a_gap_or_a_double_in_its_history(torn):
    steps = torn.preempted.result().steps
    assert (torn.preempted.result().reason, steps < 8, torn.preempted.events().count("checkpoint")) == (Reason.INTERRUPTED, True, 1)
    assert resumed(torn.resumed) == [steps]
    assert torn.resumed.equals(torn.whole, after=steps)
    assert [*torn.preempted.rows(), *torn.resumed.rows()] == list(range(9))


def test_a_validation_that_its_attempt_did_not_live_to_log_is_made_up_for_and_no_other(torn):
    names = {name: value for name, value in torn.whole.rows()[2].items() if name.startswith("val-")}
    assert names
    assert torn.measured.rows() == {2: names}
    assert torn.nothing_left.rows() == {}
    assert {attempt.result().state for attempt in (torn.measured, torn.nothing_left)} == {RunState.SUCCEEDED}


def test_so_many_checkpoints_are_kept_as_were_asked_for_over_all_attempts_and_whole(torn):
    assert torn.kept == [4, 3, 2]


def test_a_disk_that_cannot_hold_another_ends_the_attempt_with_one_sentence(torn):
    result = torn.full.result()
    assert (result.state, result.message.count("no space for a checkpoint:")) == (RunState.FAILED, 1)
    assert resumed(torn.full) == [4]
    found = checkpoints.complete(torn.full.paths.trial.checkpoints)
    assert [checkpoint.step for checkpoint in found] == [4, 3, 2]
    assert checkpoints.torn(torn.full.paths.trial.checkpoints, after=0) == []


def test_nothing_says_anything_of_torn_checkpoints_where_there_are_none(torn):
    for attempt in (torn.whole, torn.first, torn.full):
        assert said(attempt) == []

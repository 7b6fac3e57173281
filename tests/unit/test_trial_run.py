"""A trial's run, read from what its attempts left: every step once, whatever died and was done again."""

from __future__ import annotations

import json
from pathlib import Path

from harness import identity
from harness.paths import StudyPaths, TrialPaths
from harness.trackers.trial_run import RowReader, rows_of
from harness.types import AttemptResult, Objective, Reason, Role, RunState, TrialSpec, TrialState

TRIAL = TrialSpec(
    study="gsm8k",
    number=7,
    configuration="0a1b2c3d",
    params={"lr": 1e-6, "actor_rollout_ref.actor.clip_ratio": 0.2},
    overrides=(),
    seed=1,
    created_at=0.0,
    role=Role.CONFIRMATION,
)


def write(trial: TrialPaths, attempt: int, *lines: tuple[int, dict[str, float]], torn: str = "") -> None:
    folder = trial.attempt(attempt).root
    folder.mkdir(parents=True, exist_ok=True)
    with trial.attempt(attempt).metrics.open("a") as log:
        log.write("".join(json.dumps({"step": step, "data": data}) + "\n" for step, data in lines) + torn)


def test_the_later_word_counts_where_an_attempt_logs_again_what_the_one_before_it_had(tmp_path: Path) -> None:
    trial = StudyPaths(tmp_path).trial(7)
    write(trial, 0, (0, {"a": 0.0}), (1, {"a": 1.0}), (2, {"a": 2.0}), torn='{"step": 3, "da')
    write(trial, 1, (2, {"a": 20.0}), (2, {"b": 1.0}), (3, {"a": 30.0}))
    assert rows_of(trial) == {0: {"a": 0.0}, 1: {"a": 1.0}, 2: {"a": 20.0, "b": 1.0}, 3: {"a": 30.0}}


def test_a_reader_gives_a_step_when_it_is_whole_and_no_step_twice(tmp_path: Path) -> None:
    trial = StudyPaths(tmp_path).trial(7)
    reader = RowReader(trial)
    assert reader.new_rows() == {}
    write(trial, 0, (0, {"a": 0.0}), (1, {"a": 1.0}))
    assert reader.new_rows() == {0: {"a": 0.0}}
    write(trial, 0, (1, {"b": 1.0}), (2, {"a": 2.0}))
    assert reader.new_rows() == {1: {"a": 1.0, "b": 1.0}}
    write(trial, 1, (2, {"a": 20.0}), (3, {"a": 3.0}))
    assert reader.new_rows() == {2: {"a": 2.0}}
    assert reader.new_rows(ended=True) == {3: {"a": 3.0}}
    assert reader.last == 3


def test_a_reader_goes_on_behind_the_step_that_it_is_told(tmp_path: Path) -> None:
    trial = StudyPaths(tmp_path).trial(7)
    write(trial, 0, *((step, {"a": float(step)}) for step in range(5)))
    assert list(RowReader(trial, last=2).new_rows(ended=True)) == [3, 4]


def test_a_run_is_found_by_study_algorithm_policy_role_configuration_and_seed() -> None:
    tree = {"algorithm": {"adv_estimator": "grpo"}, "actor_rollout_ref": {"model": {"path": "models/qwen"}}}
    assert identity.tags(TRIAL, tree) == ("gsm8k", "grpo", "qwen", "confirmation", "configuration-0a1b2c3d", "seed-1")
    tree["actor_rollout_ref"]["actor"] = {"policy_loss": {"loss_mode": "gspo"}}  # type: ignore[assignment]
    assert identity.algorithm(tree) == "gspo"


def test_a_tag_is_never_longer_than_wandb_takes_and_none_comes_twice() -> None:
    assert identity.unique(("a" * 80, "a" * 90, "", "b")) == ("a" * 64, "b")


def test_knobs_are_flat_keys_and_no_dot_is_among_them() -> None:
    told = identity.configuration(TRIAL, (Objective(metric="val-core/*"),))
    assert told["lr"] == 1e-6
    assert told["actor_rollout_ref/actor/clip_ratio"] == 0.2
    assert (told["objective"], told["configuration"], told["seed"]) == ("maximize val-core/*", "0a1b2c3d", 1)


def ended(reason: Reason, exit_code: int | None) -> AttemptResult:
    return AttemptResult(state=RunState.FAILED, reason=reason, message="", ended_at=0.0, steps=1, exit_code=exit_code)


def test_only_what_went_wrong_has_an_exit_code_and_a_signal_has_a_shells() -> None:
    assert identity.exit_code(TrialState.PRUNED, ended(Reason.PRUNED, -9)) == 0
    assert identity.exit_code(TrialState.FAIL, ended(Reason.USER, None)) == 0
    assert identity.exit_code(TrialState.FAIL, ended(Reason.CRASHED, -9)) == 137
    assert identity.exit_code(TrialState.FAIL, ended(Reason.CRASHED, 3)) == 3
    assert identity.exit_code(TrialState.FAIL, None) == 1

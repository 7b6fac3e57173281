"""The closest legal value: numbers that divide, names of a list, keys of a config tree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.nearest import divisors, nearest_divisor, nearest_multiple, nearest_name, nearest_of, neighbours, suggest

KEYS = (
    "actor_rollout_ref.actor.optim.lr",
    "actor_rollout_ref.actor.optim.lr_warmup_steps_ratio",
    "actor_rollout_ref.actor.optim.weight_decay",
    "actor_rollout_ref.actor.kl_loss_coef",
    "actor_rollout_ref.actor.kl_loss_type",
    "actor_rollout_ref.actor.entropy_coeff",
    "actor_rollout_ref.actor.clip_ratio",
    "actor_rollout_ref.actor.clip_ratio_high",
    "actor_rollout_ref.actor.ppo_mini_batch_size",
    "actor_rollout_ref.rollout.n",
    "actor_rollout_ref.rollout.temperature",
    "actor_rollout_ref.rollout.val_kwargs.temperature",
    "algorithm.kl_ctrl.kl_coef",
    "critic.optim.lr",
    "critic.optim.weight_decay",
    "data.train_batch_size",
    "trainer.total_epochs",
    "trainer.total_training_steps",
)


@pytest.mark.parametrize(
    ("unknown", "meant"),
    [
        ("actor_rollout_ref.actor.optim.learning_rate", "actor_rollout_ref.actor.optim.lr"),
        ("critic.optim.learning_rate", "critic.optim.lr"),
        ("kl_loss_coeff", "actor_rollout_ref.actor.kl_loss_coef"),
        ("actor.kl_loss_coef", "actor_rollout_ref.actor.kl_loss_coef"),
        ("actor_rollout_ref.rollout.temprature", "actor_rollout_ref.rollout.temperature"),
        ("actor_rollout_ref.rollout.val_kwargs.temprature", "actor_rollout_ref.rollout.val_kwargs.temperature"),
        ("actor_rollout_ref.actor.entropy_coef", "actor_rollout_ref.actor.entropy_coeff"),
        ("+trainer.max_steps", "trainer.total_training_steps"),
        ("data.batch_size", "data.train_batch_size"),
        ("num_generations", "actor_rollout_ref.rollout.n"),
        ("algorithm.kl_coef", "algorithm.kl_ctrl.kl_coef"),
    ],
)
def test_unknown_key_brings_the_one_that_was_meant_first(unknown: str, meant: str) -> None:
    assert suggest(unknown, KEYS)[0] == meant


def test_a_bare_name_that_exists_twice_brings_both() -> None:
    assert {"actor_rollout_ref.actor.optim.weight_decay", "critic.optim.weight_decay"} <= set(suggest("weight_decay", KEYS))


def test_of_keys_of_one_name_the_actors_comes_before_the_critics() -> None:
    assert suggest("lr", KEYS)[0] == "actor_rollout_ref.actor.optim.lr"


def test_nothing_is_suggested_for_what_resembles_nothing() -> None:
    assert suggest("zzzz.qqqq", KEYS) == ()


def test_no_more_is_suggested_than_asked_for() -> None:
    assert len(suggest("clip_ratio", KEYS, limit=2)) == 2


@given(st.integers(1, 10_000))
def test_divisors_divide_ascend_and_hold_both_ends(number: int) -> None:
    found = divisors(number)
    assert all(number % d == 0 for d in found)
    assert list(found) == sorted(set(found))
    assert (found[0], found[-1]) == (1, number)


@given(st.integers(-5, 5000), st.integers(1, 2000))
def test_nearest_divisor_divides_and_none_is_closer(value: int, of: int) -> None:
    nearest = nearest_divisor(value, of)
    assert of % nearest == 0
    assert all(abs(nearest - value) <= abs(d - value) for d in divisors(of))


@given(st.integers(-5, 5000), st.integers(1, 200))
def test_nearest_multiple_is_positive_and_none_is_closer(value: int, of: int) -> None:
    nearest = nearest_multiple(value, of)
    assert nearest > 0
    assert nearest % of == 0
    assert abs(nearest - value) <= abs(nearest + of - value)
    assert nearest == of or abs(nearest - value) <= abs(nearest - of - value)


def test_of_two_equally_close_values_the_smaller_is_taken() -> None:
    assert nearest_of(6, [4, 8]) == 4
    assert nearest_multiple(6, 4) == 4
    assert nearest_divisor(3, 4) == 2


def test_no_candidate_gives_none() -> None:
    assert nearest_of(6, []) is None


def test_neighbours_stand_on_both_sides_or_on_the_value_itself() -> None:
    assert neighbours(6, [1, 2, 4, 8, 16]) == (4, 8)
    assert neighbours(4, [1, 2, 4, 8]) == (4,)
    assert neighbours(32, [1, 2, 4]) == (4,)


def test_name_is_found_across_case_and_hyphens() -> None:
    assert nearest_name("GRPO", ["gae", "grpo"]) == "grpo"
    assert nearest_name("clip-cov", ["clip_cov", "kl_cov"]) == "clip_cov"
    assert nearest_name("xyz", ["gae", "grpo"]) is None

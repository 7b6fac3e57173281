"""Knobs that a config makes verl ignore: named with the reason, and alive again after the cure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from preflight_config import ACTOR, MODEL, REF, ROLLOUT, legal, put, without

from harness.preflight import Severity, check, dead_knobs

Change = Mapping[str, Any]
LOSS = f"{ACTOR}.policy_loss"
CORRECTION = "algorithm.rollout_correction"
FILTER = "algorithm.filter_groups"
BUFFER = "reward.reward_kwargs.overlong_buffer_cfg"
OVERLONG: Change = {"reward.reward_kwargs": {"max_resp_len": 8, "overlong_buffer_cfg": {"enable": True, "len": 2, "penalty_factor": 1.0}}}
OFF_POLICY: Change = {f"{ACTOR}.ppo_mini_batch_size": 8, "data.train_batch_size": 16}  # two updates a batch

# the config that makes it dead, the key, the change that brings it to life
REFUSED: list[tuple[Change, str, Change]] = [
    ({f"{ACTOR}.use_kl_loss": False}, f"{ACTOR}.kl_loss_coef", {f"{ACTOR}.use_kl_loss": True}),
    ({f"{ACTOR}.use_kl_loss": False}, f"{ACTOR}.kl_loss_type", {f"{ACTOR}.use_kl_loss": True}),
    ({}, "algorithm.kl_ctrl.kl_coef", {"algorithm.use_kl_in_reward": True}),
    ({}, "algorithm.kl_penalty", {"algorithm.use_kl_in_reward": True}),
    ({"algorithm.use_kl_in_reward": True}, "algorithm.kl_ctrl.horizon", {"algorithm.kl_ctrl.type": "adaptive"}),
    ({"algorithm.use_kl_in_reward": True}, "algorithm.kl_ctrl.target_kl", {"algorithm.kl_ctrl.type": "adaptive"}),
    ({}, f"{ACTOR}.clip_ratio", {f"{ACTOR}.clip_ratio_low": None, f"{ACTOR}.clip_ratio_high": None}),
    ({}, f"{ACTOR}.clip_ratio", {f"{ACTOR}.clip_ratio_high": None}),
    ({f"{LOSS}.loss_mode": "gspo"}, f"{ACTOR}.clip_ratio_c", {f"{LOSS}.loss_mode": "vanilla"}),
    ({f"{LOSS}.loss_mode": "gpg"}, f"{ACTOR}.clip_ratio_high", {f"{LOSS}.loss_mode": "cispo"}),
    ({f"{LOSS}.loss_mode": "kl_cov"}, f"{ACTOR}.clip_ratio_low", {f"{LOSS}.loss_mode": "clip_cov"}),
    ({}, f"{LOSS}.clip_cov_ratio", {f"{LOSS}.loss_mode": "clip_cov"}),
    ({}, f"{LOSS}.ppo_kl_coef", {f"{LOSS}.loss_mode": "kl_cov"}),
    ({}, f"{LOSS}.dro_beta", {f"{LOSS}.loss_mode": "dro"}),
    ({}, f"{ACTOR}.tau_neg", {f"{LOSS}.loss_mode": "sapo"}),
    (
        {f"{LOSS}.loss_mode": "sapo", f"{ACTOR}.use_kl_loss": False},
        f"{ACTOR}.loss_agg_mode",
        {f"{LOSS}.loss_mode": "vanilla"},
    ),
    ({}, f"{ACTOR}.loss_scale_factor", {f"{ACTOR}.loss_agg_mode": "seq-mean-token-sum-norm"}),
    ({}, f"{ROLLOUT}.do_sample", {"trainer.use_v1": False}),
    ({}, f"{ROLLOUT}.val_kwargs.do_sample", {"trainer.use_v1": False}),
    ({}, f"{ROLLOUT}.val_kwargs.top_p", {f"{ROLLOUT}.val_kwargs.temperature": 0.6}),
    ({}, f"{ROLLOUT}.repetition_penalty", {"trainer.use_v1": False}),
    ({"trainer.test_freq": -1, "trainer.val_before_train": False}, f"{ROLLOUT}.val_kwargs.n", {"trainer.test_freq": 5}),
    ({}, "critic.optim.lr", {"algorithm.adv_estimator": "gae"}),
    ({}, "critic.optim.lr", {"critic.enable": True}),
    ({}, "algorithm.gamma", {"algorithm.adv_estimator": "reinforce_plus_plus"}),
    ({"algorithm.adv_estimator": "reinforce_plus_plus"}, "algorithm.lam", {"algorithm.adv_estimator": "gae"}),
    ({"algorithm.adv_estimator": "rloo"}, "algorithm.norm_adv_by_std_in_grpo", {"algorithm.adv_estimator": "grpo"}),
    ({"algorithm.adv_estimator": "grpo_vectorized"}, "algorithm.norm_adv_by_std_in_grpo", {"algorithm.adv_estimator": "grpo_passk"}),
    ({"algorithm.adv_estimator": "gae"}, "algorithm.pf_ppo.weight_pow", {"algorithm.use_pf_ppo": True}),
    ({f"{ACTOR}.use_kl_loss": False}, f"{REF}.log_prob_max_token_len_per_gpu", {f"{ACTOR}.use_kl_loss": True}),
    ({f"{MODEL}.lora_rank": 8}, f"{REF}.fsdp_config.param_offload", {f"{MODEL}.lora_rank": 0}),
    ({}, f"{FILTER}.metric", {f"{FILTER}.enable": True}),
    (OVERLONG, f"{BUFFER}.penalty_factor", {"reward.reward_manager.name": "dapo"}),
    (
        {**OVERLONG, "reward.reward_manager.name": "dapo", f"{BUFFER}.enable": False},
        f"{BUFFER}.penalty_factor",
        {f"{BUFFER}.enable": True},
    ),
    ({f"{FILTER}.enable": True}, f"{FILTER}.max_num_gen_batches", {"trainer.use_v1": False}),
    ({f"{CORRECTION}.bypass_mode": True}, f"{CORRECTION}.rollout_is", {f"{CORRECTION}.bypass_mode": False}),
    ({}, f"{CORRECTION}.rollout_is_threshold", {f"{CORRECTION}.rollout_is": "token"}),
    ({}, f"{CORRECTION}.rollout_rs_threshold", {f"{CORRECTION}.rollout_rs": "token_k3"}),
    ({}, f"{CORRECTION}.loss_type", {"trainer.use_v1": False}),
    ({}, "distillation.distillation_loss.loss_mode", {"distillation.enabled": True}),
    ({}, "reward.reward_model.rollout.temperature", {"reward.reward_model.enable": True}),
    ({}, f"{ACTOR}.optim.min_lr_ratio", {f"{ACTOR}.optim.lr_scheduler_type": "cosine"}),
    ({}, f"{ACTOR}.optim.num_cycles", {f"{ACTOR}.optim.lr_scheduler_type": "cosine"}),
    ({f"{ACTOR}.optim.lr_warmup_steps": 3}, f"{ACTOR}.optim.lr_warmup_steps_ratio", {f"{ACTOR}.optim.lr_warmup_steps": -1}),
    ({f"{ACTOR}.optim.warmup_style": "cosine"}, f"{ACTOR}.optim.lr_scheduler_type", {f"{ACTOR}.optim.warmup_style": None}),
    ({}, f"{ACTOR}.optim.total_training_steps", {"trainer.use_v1": False}),
    ({f"{ACTOR}.optim.optimizer": "SGD"}, f"{ACTOR}.optim.betas", {f"{ACTOR}.optim.optimizer": "AdamW"}),
    ({}, f"{ACTOR}.grad_clip", {f"{ACTOR}.strategy": "megatron"}),
    ({}, f"{ACTOR}.use_torch_compile", {f"{ACTOR}.strategy": "megatron"}),
    ({}, f"{ACTOR}.fsdp_config.strategy", {f"{ACTOR}.strategy": "megatron"}),
    (
        {f"{ACTOR}.ulysses_sequence_parallel_size": 2},
        f"{ACTOR}.fsdp_config.ulysses_sequence_parallel_size",
        {f"{ACTOR}.ulysses_sequence_parallel_size": 1},
    ),
    ({}, f"{ACTOR}.ppo_micro_batch_size_per_gpu", {f"{ACTOR}.use_dynamic_bsz": False}),
    ({}, f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu", {f"{ACTOR}.use_dynamic_bsz": False}),
    ({f"{ACTOR}.use_dynamic_bsz": False}, f"{ACTOR}.ppo_max_token_len_per_gpu", {f"{ACTOR}.use_dynamic_bsz": True}),
    ({f"{ACTOR}.use_dynamic_bsz": False}, f"{REF}.log_prob_max_token_len_per_gpu", {f"{ACTOR}.use_dynamic_bsz": True}),
    ({"algorithm.adv_estimator": "gae"}, "critic.ppo_max_token_len_per_gpu", {"trainer.use_v1": False}),
    ({"algorithm.adv_estimator": "gae"}, "critic.ppo_micro_batch_size_per_gpu", {"trainer.use_v1": False}),
    ({"algorithm.adv_estimator": "gae"}, "critic.ulysses_sequence_parallel_size", {f"{ACTOR}.strategy": "megatron"}),
    ({}, f"{MODEL}.lora_alpha", {f"{MODEL}.lora_rank": 8}),
    ({f"{MODEL}.lora_rank": 8, f"{MODEL}.lora_adapter_path": "a/b"}, f"{MODEL}.lora_rank", {f"{MODEL}.lora_adapter_path": None}),
    ({}, f"{MODEL}.lora.alpha", {f"{ACTOR}.strategy": "megatron"}),
    ({}, "trainer.balance_batch", {"trainer.use_v1": False}),
    ({}, "trainer.resume_from_path", {"trainer.resume_mode": "resume_path"}),
    ({f"{FILTER}.enable": True}, "data.gen_batch_size", {f"{FILTER}.enable": False}),
    ({}, "trainer.v1.sampler.max_off_policy_threshold", {"trainer.v1.trainer_mode": "colocate_async"}),
    ({}, "trainer.v1.separate_async.parameter_sync_step", {"trainer.v1.trainer_mode": "separate_async"}),
]

ON_POLICY: Change = {f"{ACTOR}.ppo_mini_batch_size": 16}  # one update a batch
WARNED: list[tuple[Change, str, Change]] = [
    (ON_POLICY, f"{ACTOR}.clip_ratio_high", OFF_POLICY),
    (ON_POLICY, f"{ACTOR}.clip_ratio_low", {f"{ACTOR}.ppo_epochs": 2}),
    (ON_POLICY, f"{ACTOR}.clip_ratio_c", {f"{CORRECTION}.bypass_mode": True}),
    ({**ON_POLICY, f"{LOSS}.loss_mode": "sapo"}, f"{ACTOR}.tau_pos", OFF_POLICY),
    (ON_POLICY, f"{ACTOR}.clip_ratio_high", {"trainer.v1.trainer_mode": "colocate_async"}),
    ({f"{LOSS}.loss_mode": "sapo"}, f"{ACTOR}.loss_agg_mode", {f"{LOSS}.loss_mode": "gspo"}),
    ({}, "trainer.total_epochs", {"trainer.total_training_steps": None}),
]

KNOBS = (
    f"{ACTOR}.optim.lr",
    f"{ACTOR}.optim.weight_decay",
    f"{ACTOR}.optim.lr_warmup_steps",
    f"{ACTOR}.optim.lr_warmup_steps_ratio",
    f"{ACTOR}.optim.clip_grad",
    f"{ACTOR}.kl_loss_coef",
    f"{ACTOR}.clip_ratio_low",
    f"{ACTOR}.clip_ratio_high",
    f"{ACTOR}.clip_ratio_c",
    f"{ACTOR}.entropy_coeff",
    f"{ACTOR}.loss_agg_mode",
    f"{ACTOR}.ppo_epochs",
    f"{ACTOR}.ppo_mini_batch_size",
    f"{ACTOR}.ppo_max_token_len_per_gpu",
    f"{LOSS}.loss_mode",
    f"{ROLLOUT}.n",
    f"{ROLLOUT}.temperature",
    f"{ROLLOUT}.top_p",
    f"{ROLLOUT}.val_kwargs.temperature",
    f"{MODEL}.lora_rank",
    "algorithm.adv_estimator",
    "algorithm.norm_adv_by_std_in_grpo",
    "data.train_batch_size",
    "data.max_response_length",
    "trainer.total_training_steps",
    "trainer.v1.trainer_mode",
)


def _cases(table: list[tuple[Change, str, Change]]) -> list[Any]:
    return [pytest.param(*case, id=f"{number}-{case[1].removeprefix('actor_rollout_ref.')}") for number, case in enumerate(table)]


@pytest.mark.parametrize(("config", "key", "cure"), _cases(REFUSED))
def test_a_dead_knob_is_refused_with_its_reason_and_lives_after_the_cure(tmp_path: Path, config: Change, key: str, cure: Change) -> None:
    (finding,) = dead_knobs(legal(tmp_path, **config), [key])
    assert finding.severity is Severity.REFUSE
    assert finding.message.startswith(f"{key}: has no effect: ")
    assert "; " in finding.message
    alive = dead_knobs(legal(tmp_path, **{**config, **cure}), [key])
    assert [left for left in alive if left.severity is Severity.REFUSE] == []


@pytest.mark.parametrize(("config", "key", "cure"), _cases(WARNED))
def test_a_knob_of_little_effect_is_warned_about(tmp_path: Path, config: Change, key: str, cure: Change) -> None:
    (finding,) = dead_knobs(legal(tmp_path, **config), [key])
    assert finding.severity is Severity.WARN
    assert dead_knobs(legal(tmp_path, **{**config, **cure}), [key]) == ()


def test_the_knobs_that_people_sweep_live_in_the_config_that_they_sweep_them_in(tmp_path: Path) -> None:
    assert dead_knobs(legal(tmp_path), KNOBS) == ()


def test_findings_come_in_the_order_of_the_keys_and_a_plus_sign_is_hydras(tmp_path: Path) -> None:
    keys = ["critic.optim.lr", f"{ACTOR}.optim.lr", "++algorithm.lam", f"+{ROLLOUT}.repetition_penalty"]
    found = [finding.key for finding in dead_knobs(legal(tmp_path), keys)]
    assert found == ["critic.optim.lr", "algorithm.lam", f"{ROLLOUT}.repetition_penalty"]


def test_a_loss_or_an_estimator_of_the_users_own_may_read_any_knob(tmp_path: Path) -> None:
    own = legal(tmp_path, **{f"{LOSS}.loss_mode": "mine", "algorithm.adv_estimator": "mine", f"{MODEL}.external_lib": "my.lib"})
    keys = [f"{LOSS}.dro_beta", f"{ACTOR}.tau_pos", f"{ACTOR}.clip_ratio_high", "algorithm.lam", "algorithm.norm_adv_by_std_in_grpo"]
    assert dead_knobs(own, keys) == ()


def test_a_library_of_the_users_own_does_not_bring_dead_knobs_of_known_parts_to_life(tmp_path: Path) -> None:
    config = legal(tmp_path, **{f"{MODEL}.external_lib": "my.lib"})
    assert [finding.key for finding in dead_knobs(config, ["algorithm.lam", f"{LOSS}.dro_beta"])] == ["algorithm.lam", f"{LOSS}.dro_beta"]


def test_a_covariance_clip_is_alive_with_one_update_a_batch(tmp_path: Path) -> None:
    config = legal(tmp_path, **{**ON_POLICY, f"{LOSS}.loss_mode": "clip_cov"})
    assert dead_knobs(config, [f"{ACTOR}.clip_ratio_high", f"{LOSS}.clip_cov_ratio"]) == ()


def test_a_tree_without_the_keys_that_decide_brings_no_finding(tmp_path: Path) -> None:
    keys = [key for _, key, _ in REFUSED + WARNED]
    for branch in ("algorithm", "critic", "trainer", "data", ACTOR, REF, ROLLOUT, MODEL):
        dead_knobs(without(legal(tmp_path), branch), keys)
    assert dead_knobs({}, [f"{ACTOR}.kl_loss_coef", "algorithm.gamma", f"{ACTOR}.optim.min_lr_ratio"]) == ()


def test_odd_values_in_the_keys_that_decide_do_not_make_it_stumble(tmp_path: Path) -> None:
    config = legal(tmp_path)
    keys = [key for _, key, _ in REFUSED + WARNED]
    for decides in {key for table in (REFUSED, WARNED) for before, _, cure in table for key in (*before, *cure)}:
        for odd in (None, "odd", -1, [], {}, True):
            dead_knobs(put(config, decides, odd), keys)


def test_the_cured_configs_are_legal_where_they_were_before(tmp_path: Path) -> None:
    for config in ({}, ON_POLICY, OFF_POLICY, {f"{LOSS}.loss_mode": "gspo"}, {"algorithm.use_kl_in_reward": True}):
        assert check(legal(tmp_path, **config)) == ()

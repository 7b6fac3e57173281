"""The preflight: a legal config passes, each illegal change is refused with the legal value next to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from preflight_config import ACTOR, MODEL, REF, ROLLOUT, legal, put, without

from harness.errors import PreflightError
from harness.preflight import Finding, Severity, check, refuse, steps, validates

Change = Mapping[str, Any]

FIXED: Change = {  # fixed micro-batches instead of dynamic ones, on one GPU
    f"{ACTOR}.use_dynamic_bsz": False,
    f"{ACTOR}.ppo_micro_batch_size_per_gpu": 8,
    f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu": 16,
    f"{REF}.log_prob_micro_batch_size_per_gpu": 16,
}
FOUR: Change = {"trainer.n_gpus_per_node": 4}
FOUR_FIXED: Change = {**FOUR, **FIXED, f"{ACTOR}.ppo_micro_batch_size_per_gpu": 2, f"{ROLLOUT}.n": 4}
PPO: Change = {"algorithm.adv_estimator": "gae"}
OLD_PPO: Change = {**PPO, **FIXED, "critic.ppo_micro_batch_size_per_gpu": 4}
REWARD_KL: Change = {"algorithm.use_kl_in_reward": True}
ADAPTIVE: Change = {**REWARD_KL, "algorithm.kl_ctrl.type": "adaptive"}
ASYNC: Change = {
    "trainer.v1.trainer_mode": "separate_async",
    "trainer.v1.separate_async.parameter_sync_step": 2,
    f"{ROLLOUT}.nnodes": 1,
    f"{ROLLOUT}.checkpoint_engine.backend": "nccl",
}
BUFFER = "reward.reward_kwargs.overlong_buffer_cfg"
OVERLONG: Change = {
    "reward.reward_manager.name": "dapo",
    "reward.reward_kwargs": {"max_resp_len": 8, "overlong_buffer_cfg": {"enable": True, "len": 2, "penalty_factor": 1.0}},
}
LOSS = f"{ACTOR}.policy_loss.loss_mode"
MICRO, SCORE, REF_SCORE = (
    f"{ACTOR}.ppo_micro_batch_size_per_gpu",
    f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu",
    f"{REF}.log_prob_micro_batch_size_per_gpu",
)

# what the config is otherwise, the key that is changed, the illegal value, the legal value that is named
REFUSED: list[tuple[Change, str, Any, Any]] = [
    # numbers wrong by nature
    ({}, f"{ACTOR}.optim.lr", 0.0, 1e-6),
    ({}, f"{ACTOR}.optim.lr", -1e-6, 1e-6),
    ({}, f"{ACTOR}.optim.lr", float("nan"), 1e-6),
    ({}, f"{ACTOR}.optim.lr", "1e-5", 1e-5),
    ({}, f"{ACTOR}.optim.lr", None, 1e-6),
    ({}, f"{ACTOR}.optim.weight_decay", -0.1, 0),
    ({}, f"{ACTOR}.optim.betas", [0.9, 1.0], [0.9, 0.999]),
    ({}, f"{ACTOR}.optim.clip_grad", None, 1.0),
    ({}, f"{ACTOR}.optim.lr_warmup_steps", None, -1),
    ({}, f"{ACTOR}.optim.lr_warmup_steps_ratio", 1.5, 1),
    ({}, f"{ACTOR}.optim.min_lr_ratio", 2.0, 1),
    ({}, f"{ACTOR}.kl_loss_coef", -0.001, 0),
    ({}, "algorithm.kl_ctrl.kl_coef", -0.001, 0),
    ({}, f"{ACTOR}.entropy_coeff", float("inf"), 0.0),
    ({}, f"{ACTOR}.clip_ratio_high", 0, 0.2),
    ({}, f"{ACTOR}.clip_ratio_low", -0.2, 0.2),
    ({}, f"{ACTOR}.clip_ratio", 0.0, 0.2),
    ({}, f"{ACTOR}.ppo_epochs", 0, 1),
    ({}, f"{ROLLOUT}.temperature", 0, 1.0),
    ({}, f"{ROLLOUT}.top_p", 1.5, 1),
    ({}, f"{ROLLOUT}.top_k", -2, 1),
    ({}, f"{ROLLOUT}.n", 2.5, 2),
    ({}, f"{ROLLOUT}.val_kwargs.temperature", -1.0, 0),
    ({}, f"{ROLLOUT}.gpu_memory_utilization", 90, 1),
    ({}, "algorithm.gamma", 1.01, 1),
    ({}, "algorithm.lam", -0.5, 0),
    ({}, "trainer.total_training_steps", 0, 1),
    ({}, "trainer.total_epochs", 0, 1),
    (PPO, "critic.optim.lr", 0, 1e-5),
    (PPO, "critic.cliprange_value", 0, 0.5),
    # batch sizes
    (FOUR_FIXED | {f"{ROLLOUT}.n": 2, SCORE: 2, REF_SCORE: 2}, "data.train_batch_size", 9, 8),
    ({}, f"{ACTOR}.ppo_mini_batch_size", 32, 16),
    (FIXED, f"{ACTOR}.ppo_mini_batch_size", 32, 16),
    (FOUR | {f"{ROLLOUT}.n": 2}, f"{ACTOR}.ppo_mini_batch_size", 7, 8),
    (FIXED, MICRO, 7, 8),
    (FIXED, MICRO, None, 1),
    (FIXED, SCORE, 24, 16),
    (FIXED, SCORE, None, 1),
    (FIXED, REF_SCORE, 65, 64),
    (FIXED, REF_SCORE, None, 1),
    (FOUR_FIXED, MICRO, 3, 2),
    ({}, f"{ROLLOUT}.log_prob_use_dynamic_bsz", False, True),
    ({}, f"{ACTOR}.ppo_max_token_len_per_gpu", 39, 40),
    ({}, f"{ROLLOUT}.log_prob_max_token_len_per_gpu", None, 40),
    ({}, f"{REF}.log_prob_max_token_len_per_gpu", 8, 40),
    ({}, "data.gen_batch_size", 5, 4),
    (PPO, "critic.ppo_mini_batch_size", 32, 16),
    (PPO | FOUR | {f"{ROLLOUT}.n": 2}, "critic.ppo_mini_batch_size", 3, 2),
    (OLD_PPO | {"critic.ppo_micro_batch_size_per_gpu": None}, "critic.ppo_micro_batch_size", 3, 2),
    (OLD_PPO, "critic.ppo_micro_batch_size_per_gpu", None, 1),
    (PPO, "critic.ppo_infer_max_token_len_per_gpu", 10, 40),
    # placement
    ({}, f"{ROLLOUT}.tensor_model_parallel_size", 2, 1),
    (FOUR, f"{ROLLOUT}.tensor_model_parallel_size", 3, 2),
    (FOUR | {f"{ROLLOUT}.data_parallel_size": 2}, f"{ROLLOUT}.tensor_model_parallel_size", 4, 2),
    ({"trainer.n_gpus_per_node": 2, "trainer.nnodes": 4, f"{ROLLOUT}.n": 8}, f"{ROLLOUT}.tensor_model_parallel_size", 7, 8),
    ({"trainer.n_gpus_per_node": 6, "trainer.nnodes": 4, f"{ROLLOUT}.n": 6}, f"{ROLLOUT}.tensor_model_parallel_size", 8, 6),
    ({f"{ROLLOUT}.name": "vllm"}, f"{ROLLOUT}.pipeline_model_parallel_size", 2, 1),
    (FOUR | {f"{ROLLOUT}.tensor_model_parallel_size": 2}, f"{ROLLOUT}.expert_parallel_size", 4, 2),
    (FOUR, f"{ACTOR}.fsdp_config.fsdp_size", 3, 2),
    (FOUR, f"{ACTOR}.fsdp_config.fsdp_size", 0, -1),
    (FOUR | {f"{MODEL}.use_remove_padding": True}, f"{ACTOR}.ulysses_sequence_parallel_size", 3, 2),
    (FOUR, f"{ACTOR}.ulysses_sequence_parallel_size", 2, 1),
    (FOUR, f"{ACTOR}.fsdp_config.ulysses_sequence_parallel_size", 2, 1),
    (
        {"trainer.n_gpus_per_node": 8, f"{MODEL}.use_remove_padding": True},
        f"{ACTOR}.fsdp_config.ulysses_sequence_parallel_size",
        8,
        4,
    ),
    # algorithm
    ({}, "algorithm.adv_estimator", "grop", "grpo"),
    ({}, "algorithm.adv_estimator", "remax", "grpo"),
    ({}, "algorithm.adv_estimator", "gdpo", "grpo"),
    ({}, "algorithm.adv_estimator", "optimal_token_baseline", "grpo"),
    ({"algorithm.adv_estimator": "gae"}, "critic.enable", False, True),
    ({"algorithm.adv_estimator": "rloo_vectorized"}, f"{ROLLOUT}.n", 1, 2),
    ({"algorithm.adv_estimator": "grpo_passk"}, f"{ROLLOUT}.n", 1, 2),
    ({}, LOSS, "clip-cov", "clip_cov"),
    ({}, f"{ACTOR}.clip_ratio_c", 1.0, 3.0),
    ({LOSS: "dppo_kl"}, f"{ACTOR}.clip_ratio_c", 0, 20.0),
    ({LOSS: "dro"}, f"{ACTOR}.policy_loss.dro_beta", None, 0.1),
    ({LOSS: "clip_cov"}, f"{ACTOR}.policy_loss.clip_cov_ratio", 0, 0.0002),
    ({LOSS: "kl_cov"}, f"{ACTOR}.policy_loss.kl_cov_ratio", -1, 0.0002),
    ({}, f"{ACTOR}.loss_agg_mode", "seq-mean-token", "seq-mean-token-sum"),
    ({f"{ACTOR}.loss_agg_mode": "seq-mean-token-sum-norm"}, f"{ACTOR}.loss_scale_factor", 0, 40),
    ({}, f"{ACTOR}.kl_loss_type", "low_var", "low_var_kl"),
    ({}, f"{ACTOR}.kl_loss_type", "full", "kl"),
    (REWARD_KL, "algorithm.kl_penalty", "low_varkl", "low_var_kl"),
    (REWARD_KL, "algorithm.kl_ctrl.type", "adaptative", "adaptive"),
    (ADAPTIVE, "algorithm.kl_ctrl.horizon", 0, 10000),
    (ADAPTIVE, "algorithm.kl_ctrl.target_kl", 0, 0.1),
    ({"algorithm.filter_groups.enable": True}, "algorithm.filter_groups.metric", None, "reward"),
    ({"algorithm.filter_groups.enable": True}, "algorithm.filter_groups.max_inflight_gen_batches", 0, 1),
    ({"algorithm.filter_groups.enable": True, "reward.reward_model.enable": True}, "reward.reward_model.enable_resource_pool", False, None),
    ({}, "algorithm.rollout_correction.rollout_is", "tokens", "token"),
    ({"algorithm.rollout_correction.rollout_is": "token"}, "algorithm.rollout_correction.rollout_is_threshold", 0, 2.0),
    ({"algorithm.rollout_correction.rollout_is": "token"}, f"{ROLLOUT}.calculate_log_probs", False, True),
    ({"algorithm.rollout_correction.bypass_mode": True}, f"{ROLLOUT}.calculate_log_probs", False, True),
    # training
    ({}, f"{ACTOR}.optim.lr_scheduler_type", "constant_with_warmup", "constant"),
    ({}, f"{ACTOR}.optim.lr_scheduler_type", "cosin", "cosine"),
    ({}, f"{ACTOR}.strategy", "fdsp2", "fsdp2"),
    ({}, f"{ACTOR}.fsdp_config.strategy", "megatron", "fsdp2"),
    ({}, f"{MODEL}.lora.rank", 8, 0),
    ({f"{ROLLOUT}.name": "hf", f"{MODEL}.lora_rank": 8}, f"{MODEL}.lora.merge", False, True),
    (OVERLONG, f"{BUFFER}.len", 0, 1),
    (OVERLONG, f"{BUFFER}.len", 9, 1),
    (OVERLONG, "reward.reward_kwargs.max_resp_len", None, 8),
    ({}, f"{MODEL}.lora_adapter_path", "some/adapter", None),
    ({f"{ROLLOUT}.name": "vllm"}, f"{MODEL}.lora_rank", 1024, 512),
    ({}, f"{ROLLOUT}.name", None, "vllm"),
    ({}, f"{ROLLOUT}.name", "???", "vllm"),
    ({}, f"{ROLLOUT}.mode", "sync", "async"),
    ({}, f"{ROLLOUT}.max_model_len", 32, 40),
    ({f"{ROLLOUT}.name": "vllm"}, f"{ROLLOUT}.max_model_len", 1024, 512),
    ({f"{ROLLOUT}.name": "vllm"}, "data.max_response_length", 512, 480),
    ({}, "reward.reward_manager.name", "naiv", "naive"),
    ({}, "reward.reward_manager.source", "file", "register"),
    ({"reward.reward_model.enable_resource_pool": True}, "reward.reward_model.nnodes", 0, 1),
    ({}, "trainer.v1.trainer_mode", "async", "sync"),
    (ASYNC, "data.train_batch_size", 24, 16),
    (ASYNC, f"{ROLLOUT}.nnodes", 0, 1),
    (ASYNC, f"{ROLLOUT}.checkpoint_engine.backend", "naive", "nccl"),
    ({}, "trainer.v1.sampler.max_off_policy_threshold", 0, 1),
    ({}, "trainer.v1.sampler.max_off_policy_strategy", "keep", "drop"),
    ({}, "trainer.resume_mode", "never", "disable"),
    ({}, "trainer.critic_warmup", 40, 0),
]
EXEMPT = {  # the finding stands at another key, or has no legal value to name
    "reward.reward_model.enable_resource_pool": True,
    f"{MODEL}.lora_adapter_path": 16,
}


def _name(case: tuple[Change, str, Any, Any]) -> str:
    return f"{case[1].removeprefix('actor_rollout_ref.')}={case[2]}"


CASES = [pytest.param(*case, id=_name(case)) for case in REFUSED]


def _one(findings: tuple[Finding, ...], key: str) -> Finding:
    (finding,) = [finding for finding in findings if finding.key == key]
    return finding


def test_a_legal_config_passes_without_a_word(tmp_path: Path) -> None:
    assert check(legal(tmp_path)) == ()
    refuse(legal(tmp_path))


@pytest.mark.parametrize("base", [FIXED, FOUR, FOUR_FIXED, PPO, OLD_PPO, ADAPTIVE, ASYNC], ids=str)
def test_every_base_of_these_tests_is_legal(tmp_path: Path, base: Change) -> None:
    assert check(legal(tmp_path, **base)) == ()


@pytest.mark.parametrize(("base", "key", "illegal", "nearest"), CASES)
def test_an_illegal_value_is_refused_with_the_nearest_legal_one(tmp_path: Path, base: Change, key: str, illegal: Any, nearest: Any) -> None:
    findings = check(legal(tmp_path, **{**base, key: illegal}))
    refusals = [finding for finding in findings if finding.severity is Severity.REFUSE]
    assert len(refusals) >= 1
    expected = EXEMPT.get(key, nearest)
    assert expected in [finding.nearest for finding in refusals]
    assert all(finding.message.startswith(f"{finding.key}: ") for finding in refusals)


@pytest.mark.parametrize(("base", "key", "illegal", "nearest"), CASES)
def test_the_nearest_value_put_back_is_legal(tmp_path: Path, base: Change, key: str, illegal: Any, nearest: Any) -> None:
    config = legal(tmp_path, **{**base, key: illegal})
    findings = [finding for finding in check(config) if finding.nearest is not None]
    for finding in findings:
        config = put(config, finding.key, finding.nearest)
    assert not {finding.key for finding in check(config)} & {finding.key for finding in findings}


# what the config is otherwise, the change, the key that is warned about, the value that is better
WARNED: list[tuple[Change, str, Any, str, Any]] = [
    ({}, f"{ROLLOUT}.n", 1, f"{ROLLOUT}.n", 2),
    ({}, f"{ACTOR}.ppo_mini_batch_size", 7, f"{ACTOR}.ppo_mini_batch_size", 8),
    ({}, "data.train_batch_size", 12, f"{ACTOR}.ppo_mini_batch_size", 6),
    (PPO, "critic.ppo_mini_batch_size", 3, "critic.ppo_mini_batch_size", 8),
    ({}, f"{ROLLOUT}.val_kwargs.do_sample", True, f"{ROLLOUT}.val_kwargs.temperature", 1.0),
    ({}, f"{ROLLOUT}.val_kwargs.n", 4, f"{ROLLOUT}.val_kwargs.n", 1),
    ({}, "trainer.critic_warmup", 5, "trainer.critic_warmup", 0),
    ({}, f"{ACTOR}.optim.lr_warmup_steps", 30, f"{ACTOR}.optim.lr_warmup_steps", 3),
    ({}, f"{ROLLOUT}.response_length", 16, f"{ROLLOUT}.response_length", 8),
    ({f"{MODEL}.external_lib": "my.lib"}, "algorithm.adv_estimator", "mine", "algorithm.adv_estimator", "gae"),
]


@pytest.mark.parametrize(("base", "key", "value", "warned", "better"), [pytest.param(*case, id=case[1]) for case in WARNED])
def test_what_runs_and_does_less_is_warned_about(tmp_path: Path, base: Change, key: str, value: Any, warned: str, better: Any) -> None:
    findings = check(legal(tmp_path, **{**base, key: value}))
    assert [finding.severity for finding in findings] == [Severity.WARN]
    assert (findings[0].key, findings[0].nearest) == (warned, better)
    refuse(legal(tmp_path, **{**base, key: value}))
    assert check(legal(tmp_path, **{**base, key: value, warned: better})) == ()


def test_a_legacy_micro_batch_is_refused_though_verls_own_check_lets_it_pass(tmp_path: Path) -> None:
    config = legal(tmp_path, **{**FOUR_FIXED, f"{ACTOR}.ppo_micro_batch_size": 8, MICRO: None})
    finding = _one(check(config), MICRO)
    assert finding.nearest == 2
    assert f"{ACTOR}.ppo_micro_batch_size=null" in finding.message


@pytest.mark.parametrize(
    ("legacy", "new"),
    [
        (f"{ACTOR}.ppo_micro_batch_size", MICRO),
        (f"{ROLLOUT}.log_prob_micro_batch_size", SCORE),
        (f"{REF}.log_prob_micro_batch_size", REF_SCORE),
        ("critic.ppo_micro_batch_size", "critic.ppo_micro_batch_size_per_gpu"),
    ],
)
def test_a_legacy_micro_batch_beside_the_new_one_is_refused(tmp_path: Path, legacy: str, new: str) -> None:
    finding = _one(check(legal(tmp_path, **{**OLD_PPO, legacy: 8})), legacy)
    assert f"set {legacy}=null" in finding.message
    assert new in finding.message


def test_missing_files_and_folders_are_refused_and_a_misspelled_one_is_found(tmp_path: Path) -> None:
    there = str(tmp_path / "train.parquet")
    wrong = str(tmp_path / "trian.parquet")
    assert _one(check(legal(tmp_path, **{"data.train_files": wrong})), "data.train_files").nearest == there
    assert wrong in _one(check(legal(tmp_path, **{"data.val_files": [there, wrong]})), "data.val_files").message
    assert _one(check(legal(tmp_path, **{f"{MODEL}.path": str(tmp_path / "modell")})), f"{MODEL}.path").nearest == str(tmp_path / "model")
    assert "config.json" in _one(check(legal(tmp_path, **{f"{MODEL}.path": str(tmp_path)})), f"{MODEL}.path").message
    assert _one(check(legal(tmp_path, **{f"{MODEL}.path": ""})), f"{MODEL}.path").severity is Severity.REFUSE
    reward = "reward.custom_reward_function.path"
    assert _one(check(legal(tmp_path, **{reward: str(tmp_path / "reward.py")})), reward).severity is Severity.REFUSE


def test_hub_names_buckets_and_packages_are_passed_over(tmp_path: Path) -> None:
    config = legal(
        tmp_path,
        **{
            f"{MODEL}.path": "Qwen/Qwen3-0.6B",
            "data.train_files": "hdfs://somewhere/train.parquet",
            "reward.custom_reward_function.path": "pkg://my.reward",
        },
    )
    assert check(config) == ()


def test_an_estimator_of_the_users_own_needs_the_library_that_registers_it(tmp_path: Path) -> None:
    finding = _one(check(legal(tmp_path, **{"algorithm.adv_estimator": "mine"})), "algorithm.adv_estimator")
    assert finding.severity is Severity.REFUSE
    assert f"{MODEL}.external_lib" in finding.message


def test_both_ways_out_are_named(tmp_path: Path) -> None:
    findings = check(legal(tmp_path, **{**FOUR_FIXED, f"{ROLLOUT}.n": 1, "data.train_batch_size": 10}))
    assert "legal: 8 or 12" in _one(findings, "data.train_batch_size").message


def test_resuming_from_a_path_needs_a_step_in_its_name(tmp_path: Path) -> None:
    config = legal(tmp_path, **{"trainer.resume_mode": "resume_path", "trainer.resume_from_path": "/x"})
    assert "global_step_" in _one(check(config), "trainer.resume_from_path").message


def test_refusing_names_every_refusal_and_no_warning(tmp_path: Path) -> None:
    config = legal(tmp_path, **{f"{ACTOR}.optim.lr": 0, "algorithm.gamma": 2, f"{ROLLOUT}.n": 1})
    with pytest.raises(PreflightError) as caught:
        refuse(config)
    lines = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"{ACTOR}.optim.lr", "algorithm.gamma"]
    assert [finding.key for finding in caught.value.findings if isinstance(finding, Finding)] == [f"{ACTOR}.optim.lr", "algorithm.gamma"]


UNREAD = ("distillation", "global_profiler", "ray_kwargs", "reward.reward_model.rollout", "skip", "transfer_queue", "trainer.logger")


def _keys(node: Mapping[str, Any], prefix: str = "") -> list[str]:
    keys = []
    for name, child in node.items():
        keys.append(prefix + name)
        if isinstance(child, Mapping):
            keys += _keys(child, f"{prefix}{name}.")
    return keys


@pytest.mark.parametrize("base", [{}, pytest.param({**PPO, **FIXED, **ADAPTIVE}, marks=pytest.mark.slow)], ids=["grpo", "ppo"])
def test_no_rule_stumbles_over_a_key_that_is_missing_null_or_of_another_type(tmp_path: Path, base: Change) -> None:
    config = legal(tmp_path, **base)
    for key in [key for key in _keys(config) if not key.startswith(UNREAD)]:
        check(without(config, key))
        for odd in (None, "odd", -1, [], {}, 1e400):
            check(put(config, key, odd))


def test_an_empty_tree_and_a_tree_of_another_engine_pass(tmp_path: Path) -> None:
    assert check({}) == ()
    assert check(legal(tmp_path, **{f"{ACTOR}.strategy": "megatron", f"{ACTOR}.fsdp_config": None})) == ()


@settings(
    max_examples=100, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    batch=st.integers(1, 70),
    mini=st.integers(1, 70),
    n=st.integers(2, 9),
    gpus=st.integers(1, 9),
    tensor=st.integers(1, 9),
    micro=st.integers(1, 9),
    dynamic=st.booleans(),
    critic=st.booleans(),
)
def test_following_the_advice_leads_to_a_legal_config(
    tmp_path: Path, batch: int, mini: int, n: int, gpus: int, tensor: int, micro: int, dynamic: bool, critic: bool
) -> None:
    config = legal(tmp_path, **{"algorithm.adv_estimator": "gae" if critic else "grpo"})
    for key, value in {
        "data.train_batch_size": batch,
        f"{ACTOR}.ppo_mini_batch_size": mini,
        f"{ROLLOUT}.n": n,
        "trainer.n_gpus_per_node": gpus,
        f"{ROLLOUT}.tensor_model_parallel_size": tensor,
        f"{ACTOR}.use_dynamic_bsz": dynamic,
        f"{ROLLOUT}.log_prob_use_dynamic_bsz": dynamic,
        f"{REF}.log_prob_use_dynamic_bsz": dynamic,
        MICRO: micro,
        SCORE: micro,
        REF_SCORE: micro,
        "critic.ppo_mini_batch_size": mini,
        "critic.ppo_micro_batch_size_per_gpu": micro,
    }.items():
        config = put(config, key, value)
    for _ in range(12):
        findings = check(config)
        if not findings:
            return
        assert findings[0].nearest is not None
        config = put(config, findings[0].key, findings[0].nearest)
    pytest.fail(f"advice goes round in circles: {[finding.message for finding in check(config)]}")


def test_only_validation_of_a_trained_model_counts_unless_asked_otherwise(tmp_path: Path) -> None:
    assert validates(legal(tmp_path))
    never = legal(tmp_path, **{"trainer.test_freq": -1})
    assert not validates(never)
    assert validates(never, before_training=True)
    assert not validates(put(never, "trainer.val_before_train", False), before_training=True)
    assert not validates(legal(tmp_path, **{"trainer.val_only": True}))


def test_steps_are_known_only_where_the_config_fixes_them(tmp_path: Path) -> None:
    assert steps(legal(tmp_path)) == 30
    assert steps(legal(tmp_path, **{"trainer.total_training_steps": None})) is None
    assert steps({}) is None


# ---- the same points before verl's own checks ----

VERL_REFUSES: list[Change] = [
    {**FOUR_FIXED, f"{ROLLOUT}.n": 2, "data.train_batch_size": 9},
    {**FIXED, f"{ACTOR}.ppo_mini_batch_size": 32},
    {**FIXED, MICRO: None},
    {**FIXED, f"{ACTOR}.ppo_micro_batch_size": 8},
    {**FIXED, SCORE: None},
    {**FIXED, REF_SCORE: None},
    {**OLD_PPO, "critic.ppo_micro_batch_size_per_gpu": None},
    {**OLD_PPO, "critic.ppo_micro_batch_size_per_gpu": None, "critic.ppo_micro_batch_size": 3},
    {**FOUR, f"{ACTOR}.ulysses_sequence_parallel_size": 2},
    {f"{ACTOR}.loss_agg_mode": "seq-mean-token"},
    {f"{ACTOR}.optim.lr_scheduler_type": "linear"},
    {f"{ACTOR}.fsdp_config.strategy": "megatron"},
    {f"{ROLLOUT}.val_kwargs.do_sample": True, f"{ROLLOUT}.temperature": 0},
    {f"{ROLLOUT}.mode": "sync"},
    {f"{ROLLOUT}.name": "vllm", f"{ROLLOUT}.pipeline_model_parallel_size": 2},
    {**FOUR, f"{ROLLOUT}.expert_parallel_size": 4},
    {f"{ROLLOUT}.name": "vllm", f"{MODEL}.lora_rank": 1024},
    {"reward.reward_manager.name": "naiv"},
    {f"{ACTOR}.kl_loss_type": "full"},
    {"algorithm.adv_estimator": "grop"},
    {LOSS: "clip-cov"},
    {**REWARD_KL, "algorithm.kl_ctrl.type": "adaptative"},
    {"trainer.v1.trainer_mode": "async"},
]
VERL_TAKES: list[Change] = [{}, FIXED, FOUR_FIXED, PPO, OLD_PPO, ADAPTIVE]

ASK_VERL = """
import json, sys
import torch
from omegaconf import OmegaConf
from verl.experimental.reward_loop.reward_manager import get_reward_manager_cls
from verl.trainer.ppo.core_algos import get_adv_estimator_fn, get_kl_controller, get_policy_loss_fn, kl_penalty
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.trainer.ppo.v1 import get_trainer_cls
from verl.utils.config import omega_conf_to_dataclass, validate_config

def ask(config):
    validate_config(config, need_reference_policy(config), need_critic(config))
    omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
    get_reward_manager_cls(config.reward.reward_manager.name)
    get_trainer_cls(config.trainer.v1.trainer_mode)
    get_adv_estimator_fn(config.algorithm.adv_estimator)
    get_policy_loss_fn(config.actor_rollout_ref.actor.policy_loss.loss_mode)
    kl_penalty(torch.zeros(1), torch.zeros(1), config.actor_rollout_ref.actor.kl_loss_type)
    if config.algorithm.use_kl_in_reward:
        get_kl_controller(config.algorithm.kl_ctrl)

answers = []
for tree in json.load(open(sys.argv[1])):
    # verl builds the critic's model, tokenizer included, when it reads its config; no model is needed to check sizes
    tree["critic"]["model"] = {"path": "none"}
    try:
        ask(OmegaConf.create(tree))
        answers.append("")
    except Exception as error:
        answers.append(type(error).__name__ + ": " + str(error)[:200])
json.dump(answers, open(sys.argv[2], "w"))
"""


@pytest.mark.verl
def test_verl_itself_refuses_what_the_preflight_refuses_and_takes_what_it_takes(tmp_path: Path) -> None:
    trees = [legal(tmp_path, **change) for change in [*VERL_TAKES, *VERL_REFUSES]]
    questions, answers = tmp_path / "trees.json", tmp_path / "answers.json"
    questions.write_text(json.dumps(trees))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ASK_VERL, str(questions), str(answers)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(answers.read_text())
    ours = [any(finding.severity is Severity.REFUSE for finding in check(tree)) for tree in trees]
    assert ours == [False] * len(VERL_TAKES) + [True] * len(VERL_REFUSES)
    disagreements = [
        (change, answer) for change, answer, own in zip([*VERL_TAKES, *VERL_REFUSES], said, ours, strict=True) if bool(answer) != own
    ]
    assert not disagreements

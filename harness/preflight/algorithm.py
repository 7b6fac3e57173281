"""Refuses estimators, losses and KL terms that verl does not know, cannot compute, or computes as zero."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from harness.nearest import nearest_name
from harness.preflight.finding import Finding, refused, warned
from harness.preflight.view import ACTOR, MODEL, ROLLOUT, View

# verl/trainer/ppo/core_algos.py AdvantageEstimator, register_policy_loss, agg_loss, kl_penalty_forward
ESTIMATORS = (
    "gae",
    "grpo",
    "reinforce_plus_plus",
    "reinforce_plus_plus_baseline",
    "remax",
    "rloo",
    "opo",
    "grpo_passk",
    "gpg",
    "rloo_vectorized",
    "grpo_vectorized",
    "optimal_token_baseline",
    "tir_optimal_token_baseline",
    "gdpo",
)
LOSSES = ("vanilla", "dppo_tv", "dppo_kl", "gspo", "sapo", "gpg", "clip_cov", "kl_cov", "geo_mean", "dro", "cispo", "bypass_mode")
AGGREGATIONS = ("token-mean", "token-sum", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm")
KL_ESTIMATES = ("kl", "k1", "abs", "mse", "k2", "low_var_kl", "k3")
KL_TYPES = (*KL_ESTIMATES, *(f"{name}+" for name in KL_ESTIMATES))

# verl/trainer/ppo/v1/trainer_base.py _compute_advantage hands over neither greedy baselines, nor sum_pi_squared, nor prompts.
MISSING_IN_V1 = {
    "remax": "the greedy baseline",
    "optimal_token_baseline": "sum_pi_squared",
    "tir_optimal_token_baseline": "sum_pi_squared",
    "gdpo": "the reward components",
}
# What core_algos.py makes of a group of one.
NO_BASELINE_ALONE = ("grpo", "reinforce_plus_plus_baseline", "rloo", "opo", "gpg", "gdpo", "grpo_vectorized")
GROUP_NEEDED = {
    "rloo_vectorized": "every advantage is then 0 and nothing is learned",
    "grpo_passk": "verl raises at the first step",
}
DUAL_CLIP = ("vanilla", "bypass_mode")
TRUNCATED = ("dppo_tv", "dppo_kl")


def estimator(view: View) -> Iterator[Finding]:
    key = "algorithm.adv_estimator"
    yield from _known(view, key, ESTIMATORS, extensible=True)
    lacking = MISSING_IN_V1.get(view.estimator)
    if view.v1 and lacking:
        yield refused(key, f"verl's v1 trainer does not hand {lacking} to {view.estimator}, which fails at the first step", nearest="grpo")
    if view.estimator == "gae" and not view.critic:
        yield refused("critic.enable", "gae needs the critic's values", nearest=True, cure="or another algorithm.adv_estimator")


def lone_rollout(view: View) -> Iterator[Finding]:
    """verl/trainer/ppo/core_algos.py: a group of one has mean 0 and deviation 1."""
    key = f"{ROLLOUT}.n"
    if view.positive(key) > 1:
        return
    fatal = GROUP_NEEDED.get(view.estimator)
    if fatal:
        yield refused(key, f"{view.estimator} compares the responses to one prompt and needs at least 2, got 1: {fatal}", nearest=2)
    elif view.estimator in NO_BASELINE_ALONE:
        what = f"{view.estimator} compares the responses to one prompt; with 1 the advantage is the bare reward, without a baseline"
        yield warned(key, what, nearest=2, cure="4 to 32 are usual")


def policy_loss(view: View) -> Iterator[Finding]:
    """verl/trainer/ppo/core_algos.py get_policy_loss_fn, and the asserts of each loss."""
    prefix = f"{ACTOR}.policy_loss"
    yield from _known(view, f"{prefix}.loss_mode", LOSSES, extensible=True)
    mode = view.loss_mode
    ratio = view.find(f"{ACTOR}.clip_ratio_c", 3.0)
    if mode in DUAL_CLIP and not _above(ratio, 1):
        yield refused(f"{ACTOR}.clip_ratio_c", f"the dual clip of {mode} needs a number above 1, got {ratio!r}", nearest=3.0)
    if mode in TRUNCATED and not _above(ratio, 0):
        yield refused(f"{ACTOR}.clip_ratio_c", f"{mode} truncates the ratio at a number above 0, got {ratio!r}", nearest=20.0)
    if mode == "dro" and not _above(view.find(f"{prefix}.dro_beta"), 0):
        beta = view.find(f"{prefix}.dro_beta")
        yield refused(f"{prefix}.dro_beta", f"dro needs a number above 0, got {beta!r}", nearest=0.1)
    for share in ("clip_cov", "kl_cov"):
        key = f"{prefix}.{share}_ratio"
        if mode == share and not _above(view.find(key, 0.0002), 0):
            yield refused(key, f"{mode} needs a number above 0, got {view.find(key)!r}", nearest=0.0002)


def aggregation(view: View) -> Iterator[Finding]:
    """verl/workers/config/actor.py ActorConfig.__post_init__; verl/trainer/ppo/core_algos.py agg_loss."""
    yield from _known(view, f"{ACTOR}.loss_agg_mode", AGGREGATIONS)
    if view.critic and view.find("critic.loss_agg_mode") != view.find(f"{ACTOR}.loss_agg_mode"):
        yield from _known(view, "critic.loss_agg_mode", AGGREGATIONS)
    factor = view.find(f"{ACTOR}.loss_scale_factor")
    if view.find(f"{ACTOR}.loss_agg_mode") == "seq-mean-token-sum-norm" and factor is not None and not _above(factor, 0):
        key = f"{ACTOR}.loss_scale_factor"
        yield refused(key, f"expected a number above 0 that the loss is divided by, got {factor!r}", nearest=view.longest)


def kl(view: View) -> Iterator[Finding]:
    """verl/trainer/ppo/core_algos.py kl_penalty_forward and get_kl_controller; "full" is named there and not implemented."""
    if view.find(f"{ACTOR}.use_kl_loss", False):
        yield from _known(view, f"{ACTOR}.kl_loss_type", KL_TYPES)
    if not view.find("algorithm.use_kl_in_reward", False):
        return
    yield from _known(view, "algorithm.kl_penalty", KL_TYPES)
    yield from _known(view, "algorithm.kl_ctrl.type", ("fixed", "adaptive"))
    if view.find("algorithm.kl_ctrl.type") == "adaptive":
        for name, usual in (("horizon", 10000), ("target_kl", 0.1)):
            key = f"algorithm.kl_ctrl.{name}"
            if view.has(key) and not _above(view.get(key), 0):
                yield refused(key, f"the controller divides by it: expected a number above 0, got {view.get(key)!r}", nearest=usual)


def filter_groups(view: View) -> Iterator[Finding]:
    """verl/trainer/ppo/v1/trainer_base.py _resolve_filter_groups_metric; replay_buffer.py _validate_mode_config."""
    prefix = "algorithm.filter_groups"
    if not view.v1 or not view.find(f"{prefix}.enable", False):
        return
    if not view.find(f"{prefix}.metric"):
        yield refused(f"{prefix}.metric", "expected the name of a reward metric, got none", nearest="reward")
    flying = view.find(f"{prefix}.max_inflight_gen_batches", 1)
    if isinstance(flying, bool) or not isinstance(flying, int) or flying < 1:
        yield refused(f"{prefix}.max_inflight_gen_batches", f"expected a whole number of at least 1, got {flying!r}", nearest=1)
    if view.find("reward.reward_model.enable", False) and not view.find("reward.reward_model.enable_resource_pool", False):
        key = "reward.reward_model.enable_resource_pool"
        yield refused(key, "filtering needs rewards while sampling; a reward model on the actor's GPUs gives them afterwards", nearest=True)


def rollout_correction(view: View) -> Iterator[Finding]:
    """verl/trainer/ppo/rollout_corr_helper.py compute_rollout_correction_weights and _parse_rollout_is_threshold."""
    prefix = "algorithm.rollout_correction"
    if view.v1 and view.bypass:
        return  # v1 then computes no correction at all: see the dead knobs
    level = view.find(f"{prefix}.rollout_is")
    if level is None:
        return
    if level not in ("token", "sequence"):
        yield refused(f"{prefix}.rollout_is", f"expected null, token or sequence, got {level!r}", nearest="token")
    threshold = view.find(f"{prefix}.rollout_is_threshold", 2.0)
    if not isinstance(threshold, str) and not _above(threshold, 0):
        yield refused(f"{prefix}.rollout_is_threshold", f"expected a number above 0 or 'lower_upper', got {threshold!r}", nearest=2.0)
    if view.find(f"{ROLLOUT}.calculate_log_probs") is False:
        key = f"{ROLLOUT}.calculate_log_probs"
        yield refused(key, f"without the rollout's log-probabilities verl skips {prefix}.rollout_is in silence", nearest=True)


def bypass(view: View) -> Iterator[Finding]:
    """verl/trainer/ppo/v1/trainer_base.py _compute_old_log_prob reads rollout_log_probs."""
    key = f"{ROLLOUT}.calculate_log_probs"
    if view.bypass and view.find(key) is False:
        yield refused(key, "algorithm.rollout_correction.bypass_mode takes the rollout's log-probabilities as the old ones", nearest=True)


def _known(view: View, key: str, known: Collection[str], *, extensible: bool = False) -> Iterator[Finding]:
    if not view.has(key) or view.get(key) in known:
        return
    value = view.get(key)
    what = f"expected one of {', '.join(known)}, got {value!r}"
    nearest = nearest_name(value, known) or next(iter(known))
    if not extensible:
        yield refused(key, what, nearest=nearest)
    elif view.foreign_names and isinstance(value, str):
        yield warned(key, what, nearest=nearest, cure=f"unless {MODEL}.external_lib registers it")
    else:
        yield refused(key, what, nearest=nearest, cure=f"a name of your own needs {MODEL}.external_lib, the module that registers it")


def _above(value: object, bound: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > bound

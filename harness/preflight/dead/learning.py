"""Dead knobs of what is learned: advantages, KL terms, corrections, the critic."""

from __future__ import annotations

from harness.preflight.algorithm import ESTIMATORS
from harness.preflight.dead.entry import Dead, Reason, Why, under, unless, when
from harness.preflight.view import ACTOR, MODEL, REF, ROLLOUT, View

CORRECTION = "algorithm.rollout_correction"
FILTER = "algorithm.filter_groups"
OVERLONG = "reward.reward_kwargs.overlong_buffer_cfg"


def _reads(*estimators: str) -> Why:
    """verl/trainer/ppo/ray_trainer.py compute_advantage; an estimator of the user's may read anything."""

    def why(view: View) -> Reason | None:
        name = view.estimator
        if name in estimators or name not in ESTIMATORS:
            return None
        return f"{name} does not read it", f"it is read by {' and '.join(estimators)}"

    return why


def _no_critic(view: View) -> Reason | None:
    """verl/trainer/ppo/utils.py need_critic."""
    if view.critic:
        return None
    return f"{view.find('algorithm.adv_estimator')} has no critic", "set algorithm.adv_estimator=gae (or critic.enable=true)"


def _no_reference(view: View) -> Reason | None:
    """verl/trainer/ppo/utils.py need_reference_policy; verl/trainer/ppo/v1/trainer_base.py _setup (ref_in_actor)."""
    if not view.reference:
        return "there is no reference model", f"set {ACTOR}.use_kl_loss=true"
    if view.v1 and view.size(f"{MODEL}.lora_rank", 0) > 0:
        return "with LoRA the actor without its adapter is the reference", f"set {MODEL}.lora_rank=0"
    return None


def _aggregation(view: View) -> Reason | None:
    """core_algos.py compute_policy_loss_sapo averages by sequence; losses.py ppo_loss aggregates the other terms by the mode."""
    if view.loss_mode != "sapo" or _other_terms(view):
        return None
    return "sapo always averages by sequence", f"choose another {ACTOR}.policy_loss.loss_mode"


def _part_of_aggregation(view: View) -> Reason | None:
    if view.loss_mode != "sapo" or not _other_terms(view):
        return None
    return "sapo always averages by sequence, only its KL and entropy terms follow", f"choose another {ACTOR}.policy_loss.loss_mode"


def _other_terms(view: View) -> bool:
    return bool(view.find(f"{ACTOR}.use_kl_loss", False)) or view.find(f"{ACTOR}.entropy_coeff", 0) != 0


LEARNING: tuple[Dead, ...] = (
    # workers/utils/losses.py ppo_loss
    Dead(
        keys=under(ACTOR, "kl_loss_coef", "kl_loss_type"),
        why=unless(lambda v: v.get(f"{ACTOR}.use_kl_loss"), "the loss has no KL term", f"set {ACTOR}.use_kl_loss=true"),
    ),
    # trainer/ppo/v1/trainer_base.py _compute_advantage
    Dead(
        keys=("algorithm.kl_ctrl.*", "algorithm.kl_penalty"),
        why=unless(lambda v: v.get("algorithm.use_kl_in_reward"), "the reward has no KL term", "set algorithm.use_kl_in_reward=true"),
    ),
    # core_algos.py get_kl_controller
    Dead(
        keys=under("algorithm.kl_ctrl", "horizon", "target_kl"),
        why=when(lambda v: v.get("algorithm.kl_ctrl.type") == "fixed", "the KL controller is fixed", "set algorithm.kl_ctrl.type=adaptive"),
    ),
    Dead(keys=(f"{REF}.*",), why=_no_reference),
    Dead(keys=("critic.*",), why=_no_critic),
    Dead(keys=("algorithm.gamma",), why=_reads("gae", "reinforce_plus_plus")),
    Dead(keys=("algorithm.lam",), why=_reads("gae")),
    # compute_advantage hands it to grpo alone; grpo_passk reads the config; grpo_vectorized and gdpo keep their default, true
    Dead(keys=("algorithm.norm_adv_by_std_in_grpo",), why=_reads("grpo", "grpo_passk")),
    Dead(keys=("algorithm.use_pf_ppo", "algorithm.pf_ppo.*"), why=_reads("gae")),
    Dead(
        keys=("algorithm.pf_ppo.*",),
        why=unless(lambda v: v.get("algorithm.use_pf_ppo"), "PF-PPO is off", "set algorithm.use_pf_ppo=true"),
    ),
    # core_algos.py agg_loss
    Dead(
        keys=under(ACTOR, "loss_scale_factor"),
        why=unless(
            lambda v: v.get(f"{ACTOR}.loss_agg_mode") == "seq-mean-token-sum-norm",
            "only seq-mean-token-sum-norm divides by it",
            f"set {ACTOR}.loss_agg_mode=seq-mean-token-sum-norm",
        ),
    ),
    Dead(keys=under(ACTOR, "loss_agg_mode"), why=_aggregation),
    Dead(keys=under(ACTOR, "loss_agg_mode"), why=_part_of_aggregation, limited=True),
    # trainer_base.py _resolve_filter_groups_metric: max_num_gen_batches is warned about and ignored
    Dead(
        keys=under(FILTER, "metric", "max_inflight_gen_batches", "max_num_gen_batches"),
        why=unless(lambda v: v.get(f"{FILTER}.enable"), "groups are not filtered", f"set {FILTER}.enable=true"),
    ),
    Dead(
        keys=under(FILTER, "max_num_gen_batches"),
        why=when(lambda v: v.v1, "verl's v1 buffer ignores it", f"set {FILTER}.max_inflight_gen_batches"),
    ),
    # experimental/reward_loop/reward_manager/dapo.py, and no other manager
    Dead(
        keys=("reward.reward_kwargs.*",),
        why=unless(
            lambda v: v.get("reward.reward_manager.name") == "dapo",
            "only the reward manager dapo reads it",
            "set reward.reward_manager.name=dapo",
        ),
    ),
    Dead(
        keys=("reward.reward_kwargs.max_resp_len", *under(OVERLONG, "len", "penalty_factor", "log")),
        why=unless(lambda v: v.find(f"{OVERLONG}.enable"), "long answers are not penalised", f"set {OVERLONG}.enable=true"),
    ),
    # trainer_base.py _compute_advantage corrects in decoupled mode only, and nothing in v1 calls apply_bypass_mode
    Dead(
        keys=under(CORRECTION, "rollout_is", "rollout_is_threshold", "rollout_is_batch_normalize", "rollout_rs", "rollout_rs_threshold"),
        why=when(
            lambda v: v.v1 and v.bypass,
            "verl's v1 trainer corrects nothing in bypass mode",
            f"set {CORRECTION}.bypass_mode=false",
        ),
    ),
    Dead(
        keys=under(CORRECTION, "loss_type"),
        why=when(
            lambda v: v.v1,
            "verl's v1 trainer does not hand it to the loss",
            f"set +{ACTOR}.policy_loss.rollout_correction.loss_type with loss_mode=bypass_mode",
        ),
    ),
    Dead(
        keys=under(CORRECTION, "rollout_is_threshold", "rollout_is_batch_normalize"),
        why=when(
            lambda v: v.get(f"{CORRECTION}.rollout_is") is None, "there are no importance weights", f"set {CORRECTION}.rollout_is=token"
        ),
    ),
    Dead(
        keys=under(CORRECTION, "rollout_rs_threshold"),
        why=when(lambda v: v.get(f"{CORRECTION}.rollout_rs") is None, "no sample is rejected", f"set {CORRECTION}.rollout_rs=token_k3"),
    ),
    Dead(
        keys=under(ACTOR, "calculate_sum_pi_squared"),
        why=when(lambda v: v.v1, "verl's v1 trainer does not read it", "leave it out"),
    ),
    # trainer/ppo/v1/agent_loop_tq.py generate_sequences: temperature, top_k and top_p are passed whatever do_sample says
    Dead(
        keys=under(ROLLOUT, "do_sample", "val_kwargs.do_sample"),
        why=when(lambda v: v.v1, "verl's v1 agent loop does not read it: temperature 0 is greedy", "set the temperature"),
    ),
    # the same function passes 1.0
    Dead(
        keys=under(ROLLOUT, "repetition_penalty"),
        why=when(lambda v: v.v1, "verl's v1 agent loop always passes 1.0", "leave it out"),
    ),
    Dead(
        keys=under(ROLLOUT, "val_kwargs.top_k", "val_kwargs.top_p"),
        why=when(
            lambda v: v.get(f"{ROLLOUT}.val_kwargs.temperature") == 0,
            "validation is greedy",
            f"set {ROLLOUT}.val_kwargs.temperature above 0",
        ),
    ),
    Dead(
        keys=("distillation.*",),
        why=when(lambda v: v.get("distillation.enabled") is False, "there is no teacher", "set distillation.enabled=true"),
    ),
    Dead(
        keys=("reward.reward_model.*",),
        why=when(lambda v: v.get("reward.reward_model.enable") is False, "there is no reward model", "set reward.reward_model.enable=true"),
    ),
)

"""Dead knobs of how it runs: batching, optimiser, adapters, trainer."""

from __future__ import annotations

from harness.preflight.batches import exact_refill
from harness.preflight.dead.entry import Dead, Reason, Why, under, when
from harness.preflight.view import ACTOR, MODEL, REF, ROLLOUT, View

BOTH = (ACTOR, "critic")


def _of_tokens(role: str) -> Why:
    return when(
        lambda v: v.counts_tokens(role),
        "dynamic batching counts tokens, not rows",
        f"sweep {ACTOR}.ppo_max_token_len_per_gpu, or set {ACTOR}.use_dynamic_bsz=false",
    )


def _of_rows(role: str) -> Why:
    return when(lambda v: not v.counts_tokens(role), "fixed batching counts rows, not tokens", f"set {ACTOR}.use_dynamic_bsz=true")


def _constant(role: str) -> Why:
    """workers/engine/fsdp/transformer_impl.py _build_lr_scheduler; workers/config/optimizer.py: warmup_style wins."""
    return when(
        lambda v: (v.find(f"{role}.optim.warmup_style") or v.find(f"{role}.optim.lr_scheduler_type")) == "constant",
        "the schedule is constant",
        f"set {role}.optim.lr_scheduler_type=cosine",
    )


def _betas(role: str) -> Why:
    """workers/config/optimizer.py build_optimizer."""

    def why(view: View) -> Reason | None:
        name = view.text(f"{role}.optim.optimizer")
        if "adam" in name.lower() or "ademamix" in name.lower():
            return None
        return f"{name} takes no betas", f"set {role}.optim.optimizer=AdamW"

    return why


def _adapter(view: View) -> Reason | None:
    """workers/engine/fsdp/transformer_impl.py FSDPEngine.__init__ (_is_lora) and _build_lora_module."""
    if not view.fsdp:
        return None
    if view.size(f"{MODEL}.lora_rank", 0) <= 0:
        return f"{MODEL}.lora_rank is 0, so there is no adapter", f"set {MODEL}.lora_rank above 0"
    if view.find(f"{MODEL}.lora_adapter_path"):
        return "the adapter that is loaded brings its own", f"set {MODEL}.lora_adapter_path=null"
    return None


def _epochs(view: View) -> Reason | None:
    """trainer/ppo/v1/trainer_base.py fit: the loop ends at whichever comes first."""
    total = view.whole("trainer.total_training_steps")
    return f"trainer.total_training_steps={total} sets the length, and this can only end it earlier", "sweep only one of them"


def _of_role(role: str) -> tuple[Dead, ...]:
    """The optimiser's keys, which actor and critic have alike."""
    return (
        Dead(keys=under(role, "optim.min_lr_ratio", "optim.num_cycles", "optim.zero_indexed_step"), why=_constant(role)),
        Dead(
            keys=under(role, "optim.lr_warmup_steps_ratio"),
            why=when(
                lambda v: v.whole(f"{role}.optim.lr_warmup_steps") > 0,
                f"{role}.optim.lr_warmup_steps takes its place",
                f"set {role}.optim.lr_warmup_steps=-1",
            ),
        ),
        Dead(
            keys=under(role, "optim.lr_scheduler_type"),
            why=when(
                lambda v: v.find(f"{role}.optim.warmup_style"),
                f"{role}.optim.warmup_style takes its place",
                f"set {role}.optim.warmup_style=null",
            ),
        ),
        # trainer/ppo/v1/trainer_base.py _init_dataloader
        Dead(
            keys=under(role, "optim.total_training_steps"),
            why=when(lambda v: v.v1, "the trainer writes the run's length over it", "set trainer.total_training_steps"),
        ),
        Dead(keys=under(role, "optim.betas"), why=_betas(role)),
        # workers/engine/fsdp/transformer_impl.py optimizer_step reads the optimiser's limit, and nothing the role's
        Dead(
            keys=under(role, "grad_clip"),
            why=when(lambda v: v.fsdp, "FSDP clips at the optimiser's own limit", f"set {role}.optim.clip_grad"),
        ),
    )


def _of_engine(role: str) -> tuple[Dead, ...]:
    """workers/config/actor.py FSDPActorConfig.__post_init__; workers/engine/fsdp/transformer_impl.py FSDPEngine.__init__."""
    deprecated = f"{role}.ulysses_sequence_parallel_size"
    return (
        Dead(
            keys=under(role, "fsdp_config.strategy"),
            why=when(lambda v: v.fsdp, f"{role}.strategy is written over it", f"set {role}.strategy"),
        ),
        Dead(
            keys=under(role, "use_torch_compile"),
            why=when(lambda v: v.fsdp, "FSDP reads the engine's own flag", f"set {role}.fsdp_config.use_torch_compile"),
        ),
        Dead(
            keys=under(role, "fsdp_config.ulysses_sequence_parallel_size"),
            why=when(lambda v: v.size(deprecated, 1) > 1, f"{deprecated} is written over it", f"set {deprecated}=1"),
        ),
    )


def _of_mode(mode: str) -> Dead:
    return Dead(
        keys=(f"trainer.v1.{mode}.*",),
        why=when(
            lambda v: v.text("trainer.v1.trainer_mode") != mode,
            f"trainer.v1.trainer_mode is not {mode}",
            f"set trainer.v1.trainer_mode={mode}",
        ),
    )


RUNNING: tuple[Dead, ...] = (
    # workers/engine_workers.py init_model; workers/engine/utils.py prepare_micro_batches
    Dead(keys=under(ACTOR, "ppo_micro_batch_size", "ppo_micro_batch_size_per_gpu"), why=_of_tokens(ACTOR)),
    Dead(keys=under(ACTOR, "ppo_max_token_len_per_gpu"), why=_of_rows(ACTOR)),
    *(
        Dead(keys=under(role, "log_prob_micro_batch_size", "log_prob_micro_batch_size_per_gpu"), why=_of_tokens(role))
        for role in (ROLLOUT, REF)
    ),
    *(Dead(keys=under(role, "log_prob_max_token_len_per_gpu"), why=_of_rows(role)) for role in (ROLLOUT, REF)),
    *(dead for role in BOTH for dead in _of_role(role)),
    *(dead for role in (ACTOR, REF) for dead in _of_engine(role)),
    # trainer/ppo/v1/trainer_base.py _setup: the critic's engine batches by tokens, its default, whatever these say
    Dead(
        keys=under(
            "critic",
            "use_dynamic_bsz",
            "ppo_micro_batch_size",
            "ppo_micro_batch_size_per_gpu",
            "ppo_max_token_len_per_gpu",
            "forward_max_token_len_per_gpu",
            "forward_micro_batch_size",
            "forward_micro_batch_size_per_gpu",
        ),
        why=when(
            lambda v: v.v1,
            "verl's v1 trainer batches the critic by tokens, with another limit",
            "set +critic.ppo_infer_max_token_len_per_gpu",
        ),
    ),
    # workers/config/critic.py FSDPCriticConfig does not fall back on the deprecated key
    Dead(
        keys=under("critic", "ulysses_sequence_parallel_size"),
        why=when(lambda v: v.fsdp, "the engine reads its own", "set critic.fsdp.ulysses_sequence_parallel_size"),
    ),
    Dead(keys=under(MODEL, "lora_alpha", "target_modules", "exclude_modules"), why=_adapter),
    Dead(
        keys=under(MODEL, "lora_rank"),
        why=when(
            lambda v: v.fsdp and v.find(f"{MODEL}.lora_adapter_path") and v.size(f"{MODEL}.lora_rank", 0) > 0,
            "the adapter that is loaded brings its own",
            f"set {MODEL}.lora_adapter_path=null",
        ),
    ),
    # get_per_tensor_param reads lora.merge, and nothing else of that group
    Dead(
        keys=under(f"{MODEL}.lora", "type", "rank", "alpha", "dropout", "target_modules", "exclude_modules", "dtype"),
        why=when(
            lambda v: v.fsdp,
            "the group is Megatron's, and FSDP reads flat keys",
            f"set {MODEL}.lora_rank, lora_alpha or target_modules",
        ),
    ),
    Dead(
        keys=(f"{ROLLOUT}.val_kwargs.*", "data.val_files", "data.val_max_samples"),
        why=when(
            lambda v: v.whole("trainer.test_freq") <= 0 and not v.find("trainer.val_before_train", True),
            "nothing is ever validated",
            "set trainer.test_freq above 0",
        ),
    ),
    # read by older trainers only; trainer_base.py _step_once always balances
    Dead(
        keys=(f"{ROLLOUT}.over_sample_rate", "trainer.balance_batch"),
        why=when(lambda v: v.v1, "verl's v1 trainer does not read it", "leave it out"),
    ),
    Dead(keys=("trainer.total_epochs",), why=_epochs, limited=True),
    Dead(
        keys=("trainer.resume_from_path",),
        why=when(
            lambda v: v.text("trainer.resume_mode") != "resume_path",
            "trainer.resume_mode is not resume_path",
            "set trainer.resume_mode=resume_path",
        ),
    ),
    # trainer_base.py _init_dataloader
    Dead(
        keys=("data.gen_batch_size",),
        why=when(lambda v: v.v1 and exact_refill(v), "verl overrides it with 1 here", "leave it out"),
    ),
    # replay_buffer.py: synchronous sampling makes no use of them
    Dead(
        keys=under("trainer.v1.sampler", "max_off_policy_threshold", "max_off_policy_strategy"),
        why=when(lambda v: v.sync, "synchronous training is never off-policy", "set trainer.v1.trainer_mode=colocate_async"),
    ),
    _of_mode("colocate_async"),
    _of_mode("separate_async"),
)

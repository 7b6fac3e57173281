"""Refuses optimiser, schedule, LoRA, rollout and trainer settings that verl or its workers would refuse."""

from __future__ import annotations

from collections.abc import Iterator

from harness.nearest import nearest_name
from harness.preflight.files import model_shape
from harness.preflight.finding import Finding, refused, warned
from harness.preflight.view import ACTOR, MODEL, REF, ROLLOUT, View

SCHEDULES = ("constant", "cosine")
STRATEGIES = ("fsdp", "fsdp2", "fsdp_turbo", "megatron", "veomni", "torchtitan")
SHARDED = ("fsdp", "fsdp2", "fsdp_turbo")
ROLLOUTS = ("vllm", "sglang", "trtllm")
OWN_ROLLOUT = "hf"  # harness/inside/hf_rollout.py
TRAINERS = ("sync", "colocate_async", "separate_async")
REWARD_MANAGERS = ("naive", "dapo", "gdpo", "rate_limited", "remote")
MOST_LORA_RANK = 512  # verl/workers/rollout/vllm_rollout/utils.py get_vllm_max_lora_rank


def schedule(view: View) -> Iterator[Finding]:
    """verl/workers/config/optimizer.py FSDPOptimizerConfig.__post_init__."""
    roles = [ACTOR, "critic"] if view.critic else [ACTOR]
    for role in roles:
        if view.find(f"{role}.strategy") not in SHARDED:
            continue
        for name in ("lr_scheduler_type", "warmup_style"):
            key = f"{role}.optim.{name}"
            value = view.find(key)
            if value is not None and value not in SCHEDULES:
                yield refused(key, f"expected constant or cosine, got {value!r}", nearest=nearest_name(value, SCHEDULES) or "constant")


def strategy(view: View) -> Iterator[Finding]:
    """verl/workers/config/engine.py FSDPEngineConfig.__post_init__; verl/workers/engine/base.py EngineRegistry.get_engine_cls."""
    key = f"{ACTOR}.strategy"
    if view.has(key) and view.get(key) not in STRATEGIES:
        value = view.get(key)
        yield refused(key, f"expected one of {', '.join(STRATEGIES)}, got {value!r}", nearest=nearest_name(value, STRATEGIES) or "fsdp2")
    for engine in (f"{ACTOR}.fsdp_config", f"{REF}.fsdp_config"):
        inner = view.find(f"{engine}.strategy", "fsdp")
        if view.fsdp and inner not in SHARDED:
            yield refused(f"{engine}.strategy", f"expected one of {', '.join(SHARDED)}, got {inner!r}", nearest=view.get(key))


def lora(view: View) -> Iterator[Finding]:
    """verl/utils/config.py validate_config; verl/trainer/ppo/v1/trainer_base.py _setup (ref_in_actor)."""
    rank, other = view.size(f"{MODEL}.lora_rank", 0), view.size(f"{MODEL}.lora.rank", 0)
    if view.fsdp and other > 0 and rank <= 0 and view.reference:
        # The trainer takes the reference from the actor with its adapter off, and FSDP built no adapter.
        what = f"FSDP reads {MODEL}.lora_rank, got {other} here: the KL term would have no reference model"
        yield refused(f"{MODEL}.lora.rank", what, nearest=0, cure=f"and {MODEL}.lora_rank={other}")
    if view.fsdp and rank <= 0 and view.find(f"{MODEL}.lora_adapter_path"):
        # workers/engine/fsdp/transformer_impl.py FSDPEngine.__init__: an adapter is built where lora_rank is above 0, and only there
        what = f"FSDP loads {MODEL}.lora_adapter_path only with a rank above 0, got {rank}: the adapter would be left out in silence"
        yield refused(f"{MODEL}.lora_rank", what, nearest=16, cure="the adapter's own rank is used")
    merged = view.find(f"{MODEL}.lora.merge", False)
    used, key = (other, f"{MODEL}.lora.rank") if other > 0 else (rank, f"{MODEL}.lora_rank")
    if used > 0 and not merged and view.find(f"{ROLLOUT}.name") == OWN_ROLLOUT:
        what = f"the rollout {OWN_ROLLOUT} serves whole weights only, got adapters of rank {used}"
        yield refused(f"{MODEL}.lora.merge", what, nearest=True)
    if used > MOST_LORA_RANK and not merged and view.find(f"{ROLLOUT}.name") == "vllm":
        yield refused(key, f"vLLM serves adapters up to rank {MOST_LORA_RANK}, got {used}", nearest=MOST_LORA_RANK)


def rollout_name(view: View) -> Iterator[Finding]:
    """verl/workers/rollout/base.py get_rollout_class. Others may be registered, so an unknown name passes."""
    key = f"{ROLLOUT}.name"
    if view.get(key) in (None, "", "???"):
        yield refused(key, f"verl has no default, expected one of {', '.join(ROLLOUTS)}, got {view.get(key)!r}", nearest="vllm")
    if view.find(f"{ROLLOUT}.mode", "async") != "async":
        yield refused(f"{ROLLOUT}.mode", f"expected async, got {view.get(f'{ROLLOUT}.mode')!r}", nearest="async")
    if view.find(f"{ROLLOUT}.disaggregation.enabled", False) and view.find(key) not in ("vllm", "sglang"):
        yield refused(f"{ROLLOUT}.disaggregation.enabled", "only vllm and sglang split prefill from decode", nearest=False)


def context(view: View) -> Iterator[Finding]:
    """verl/workers/rollout/vllm_rollout/vllm_async_server.py generate cuts responses short in silence, _validate_configs raises."""
    key = f"{ROLLOUT}.max_model_len"
    length, limit = view.find(key), model_shape(view).get("max_position_embeddings")
    if isinstance(length, int) and length < view.longest:
        what = f"expected room for prompt and response, {view.longest} tokens, got {length}: responses would be cut short in silence"
        yield refused(key, what, nearest=view.longest)
    if limit is None or view.find(f"{ROLLOUT}.name") not in ROLLOUTS:
        return
    if isinstance(length, int) and length > limit and view.longest <= limit:
        yield refused(key, f"the model has {limit} positions, got {length}", nearest=limit)
    elif view.longest > limit and limit > view.positive("data.max_prompt_length"):
        room = limit - view.positive("data.max_prompt_length")
        what = f"prompt and response take up to {view.longest} tokens, the model has {limit} positions"
        yield refused("data.max_response_length", what, nearest=room)


def lengths(view: View) -> Iterator[Finding]:
    """verl's yaml ties the two; set apart, the rollout's win while the data's are what the user reads."""
    for rollout, data in (("prompt_length", "max_prompt_length"), ("response_length", "max_response_length")):
        key = f"{ROLLOUT}.{rollout}"
        if view.find(key) is not None and view.has(f"data.{data}") and view.get(key) != view.get(f"data.{data}"):
            what = f"data.{data} is {view.get(f'data.{data}')}, got {view.get(key)}"
            yield warned(key, what, nearest=view.get(f"data.{data}"))


def validation(view: View) -> Iterator[Finding]:
    """verl/trainer/ppo/v1/agent_loop_tq.py generate_sequences: temperature alone decides; do_sample is read nowhere."""
    prefix = f"{ROLLOUT}.val_kwargs"
    greedy = view.find(f"{prefix}.temperature") == 0
    if view.find(f"{prefix}.do_sample") is True and greedy:
        what = "do_sample=true asks for samples, and temperature 0 gives the greedy answer"
        yield warned(f"{prefix}.temperature", what, nearest=view.find(f"{ROLLOUT}.temperature", 1.0))
    elif greedy and view.whole(f"{prefix}.n") > 1:
        what = f"{view.whole(f'{prefix}.n')} greedy answers to one prompt are the same answer"
        yield warned(f"{prefix}.n", what, nearest=1, cure=f"or {prefix}.temperature above 0")


def reward(view: View) -> Iterator[Finding]:
    """verl/experimental/reward_loop/reward_manager/registry.py get_reward_manager_cls; trainer_base.py _init_resource_pool_mgr."""
    prefix = "reward.reward_manager"
    source = view.find(f"{prefix}.source", "register")
    name = view.find(f"{prefix}.name", "naive")
    if source == "register" and name not in REWARD_MANAGERS:
        nearest = nearest_name(name, REWARD_MANAGERS) or "naive"
        cure = f"a manager of your own needs {prefix}.source=importlib and {prefix}.module.path"
        yield refused(f"{prefix}.name", f"expected one of {', '.join(REWARD_MANAGERS)}, got {name!r}", nearest=nearest, cure=cure)
    elif source == "importlib" and not view.find(f"{prefix}.module.path"):
        yield refused(f"{prefix}.module.path", "source importlib needs the manager's file, got none", cure=f"or {prefix}.source=register")
    elif source not in ("register", "importlib"):
        yield refused(f"{prefix}.source", f"expected register or importlib, got {source!r}", nearest="register")
    if view.find("reward.reward_model.enable_resource_pool", False):
        for size in ("n_gpus_per_node", "nnodes"):
            key = f"reward.reward_model.{size}"
            if view.has(key) and not (isinstance(view.get(key), int) and view.get(key) > 0):
                yield refused(key, f"the reward model's pool needs at least 1, got {view.get(key)!r}", nearest=1)


def overlong(view: View) -> Iterator[Finding]:
    """verl/experimental/reward_loop/reward_manager/dapo.py __init__ asserts it in the reward's process."""
    prefix = "reward.reward_kwargs"
    if view.find("reward.reward_manager.name") != "dapo" or not view.find(f"{prefix}.overlong_buffer_cfg.enable", False):
        return
    longest, key = view.positive("data.max_response_length"), f"{prefix}.overlong_buffer_cfg.len"
    limit, tokens = view.find(f"{prefix}.max_resp_len"), view.find(key)
    if limit is None:
        yield refused(f"{prefix}.max_resp_len", "expected the longest answer in tokens, got none", nearest=longest)
    elif not isinstance(tokens, int) or not 0 < tokens <= limit:
        what = f"expected some of the {limit} tokens of the longest answer, got {tokens!r}"
        yield refused(key, what, nearest=max(1, limit // 5), cure="DAPO takes a fifth")


def trainer_mode(view: View) -> Iterator[Finding]:
    """verl/trainer/ppo/v1/trainer_base.py get_trainer_cls."""
    key = "trainer.v1.trainer_mode"
    if view.v1 and view.has(key) and view.get(key) not in TRAINERS:
        value = view.get(key)
        what = f"expected one of {', '.join(TRAINERS)}, got {value!r}"
        if view.foreign_names:
            yield warned(key, what, cure=f"unless {MODEL}.external_lib registers it")
        else:
            yield refused(key, what, nearest=nearest_name(value, TRAINERS) or "sync")


def separate_async(view: View) -> Iterator[Finding]:
    """verl/trainer/ppo/v1/trainer_separate_async.py __init__."""
    if not view.v1 or view.find("trainer.v1.trainer_mode") != "separate_async":
        return
    sync, mini = view.positive("trainer.v1.separate_async.parameter_sync_step"), view.positive(f"{ACTOR}.ppo_mini_batch_size")
    batch = view.positive("data.train_batch_size")
    if batch != sync * mini:
        what = f"expected parameter_sync_step {sync} x ppo_mini_batch_size {mini} = {sync * mini}, got {batch}"
        yield refused("data.train_batch_size", what, nearest=sync * mini)
    for name in ("nnodes", "n_gpus_per_node"):
        key = f"{ROLLOUT}.{name}"
        if view.whole(key) < 1:
            yield refused(key, f"the rollout has GPUs of its own in this mode: expected at least 1, got {view.whole(key)}", nearest=1)
    key = f"{ROLLOUT}.checkpoint_engine.backend"
    if view.find(key) == "naive":
        yield refused(key, "weights cross processes in this mode, which naive cannot", nearest="nccl")


def off_policy(view: View) -> Iterator[Finding]:
    """verl/trainer/ppo/v1/replay_buffer.py ReplayBuffer.__init__."""
    prefix = "trainer.v1.sampler"
    threshold = view.find(f"{prefix}.max_off_policy_threshold")
    if threshold is not None and (isinstance(threshold, bool) or not isinstance(threshold, int) or threshold < 1):
        yield refused(f"{prefix}.max_off_policy_threshold", f"expected null or a whole number of at least 1, got {threshold!r}", nearest=1)
    policy = view.find(f"{prefix}.max_off_policy_strategy", "drop")
    if policy not in ("drop", "wait"):
        yield refused(f"{prefix}.max_off_policy_strategy", f"expected drop or wait, got {policy!r}", nearest="drop")


def resume(view: View) -> Iterator[Finding]:
    """verl/trainer/ppo/v1/trainer_base.py _load_checkpoint: an unknown mode is logged, and then ignored."""
    mode = view.find("trainer.resume_mode", "auto")
    if mode not in ("auto", "disable", "resume_path"):
        yield refused("trainer.resume_mode", f"expected auto, disable or resume_path, got {mode!r}", nearest="disable")
    path = view.find("trainer.resume_from_path")
    if mode == "resume_path" and (not isinstance(path, str) or "global_step_" not in path):
        what = f"expected a folder whose name holds global_step_, got {path!r}"
        yield refused("trainer.resume_from_path", what, cure="or trainer.resume_mode=auto")


def warm_critic(view: View) -> Iterator[Finding]:
    """verl/trainer/ppo/v1/trainer_base.py _step_once: no actor update before step critic_warmup, critic or not."""
    key = "trainer.critic_warmup"
    wait, total = view.whole(key), view.find("trainer.total_training_steps")
    if wait <= 1:
        return
    if isinstance(total, int) and wait > total:
        yield refused(key, f"the actor waits {wait} steps of {total} and never learns", nearest=0)
    elif not view.critic:
        yield warned(key, f"there is no critic, and the actor still learns nothing before step {wait}", nearest=0)


def warmup(view: View) -> Iterator[Finding]:
    """verl/workers/engine/fsdp/transformer_impl.py _build_lr_scheduler: one schedule step per optimiser step."""
    key = f"{ACTOR}.optim.lr_warmup_steps"
    total = view.find("trainer.total_training_steps")
    if not isinstance(total, int) or total < 1:
        return
    if view.whole(key) >= total * _updates_per_step(view):
        what = f"the learning rate never gets beyond its warm-up: {view.whole(key)} of {total} steps"
        yield warned(key, what, nearest=max(1, total // 10) if total > 1 else 0)


def _updates_per_step(view: View) -> int:
    """verl/trainer/ppo/v1/trainer_base.py _init_dataloader: the schedule counts update calls, parameter_sync_step a step."""
    if view.find("trainer.v1.trainer_mode") != "separate_async":
        return 1
    return view.positive("trainer.v1.separate_async.parameter_sync_step")

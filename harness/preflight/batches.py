"""Refuses batch sizes that do not divide as verl and its workers need them to, and says which would."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, gcd, lcm

from harness.nearest import divisors, nearest_divisor, nearest_multiple, nearest_of, neighbours
from harness.preflight.finding import Finding, refused, warned
from harness.preflight.view import ACTOR, REF, ROLLOUT, Absent, View

TRAIN = "data.train_batch_size"
MINI = f"{ACTOR}.ppo_mini_batch_size"


def rows_over_gpus(view: View) -> Iterator[Finding]:
    """verl/utils/config.py validate_config; megatron counts with its own parallel sizes and is left to verl."""
    if view.dynamic or not view.fsdp or view.rows % view.gpus == 0:
        return
    batch, n = view.positive(TRAIN), view.positive(f"{ROLLOUT}.n")
    unit = _prompts_per_round(view, view.gpus)
    legal = _either(neighbours(batch, (batch // unit * unit or unit, (batch // unit + 1) * unit)))
    what = f"{batch} prompts x rollout.n {n} = {view.rows} rows do not divide over {view.gpus} GPUs, legal: {legal}"
    yield refused(TRAIN, what, nearest=nearest_multiple(batch, unit))


def batch_feeds_workers(view: View) -> Iterator[Finding]:
    """verl/workers/engine_workers.py train_mini_batch: a mini-batch divides over the workers, so a batch holds one row each."""
    batch, unit = view.positive(TRAIN), _prompts_per_round(view, view.data_parallel)
    if batch < unit:
        n = view.positive(f"{ROLLOUT}.n")
        what = f"{view.data_parallel} data-parallel workers need mini-batches of {unit} prompts x rollout.n {n} or more, got {batch}"
        yield refused(TRAIN, what, nearest=unit)


def mini_within_batch(view: View) -> Iterator[Finding]:
    """verl/workers/config/actor.py ActorConfig.validate; verl/trainer/ppo/v1/trainer_base.py _balance_batch."""
    batch, mini = view.positive(TRAIN), view.positive(MINI)
    if mini <= batch:
        return
    effect = f"verl would pad every batch to {mini} prompts in silence" if view.dynamic else "verl refuses it"
    yield refused(MINI, f"expected at most {TRAIN}={batch}, got {mini}: {effect}", nearest=_best_mini(view))


def mini_over_workers(view: View) -> Iterator[Finding]:
    """verl/workers/engine_workers.py train_mini_batch asserts it, after the first generation."""
    if view.mini_rows % view.data_parallel == 0:
        return
    mini, n = view.positive(MINI), view.positive(f"{ROLLOUT}.n")
    what = f"{mini} prompts x rollout.n {n} = {view.mini_rows} rows do not divide over {view.data_parallel} data-parallel workers"
    yield refused(MINI, what, nearest=_best_mini(view))


def padded_batch(view: View) -> Iterator[Finding]:
    """verl/trainer/ppo/v1/trainer_base.py _get_required_batch_multiple, padding_utils.py: no-op rows fill the last mini-batch."""
    batch, mini = view.positive(TRAIN), view.positive(MINI)
    if not view.sync or mini > batch or view.mini_rows % view.data_parallel:
        return
    rows = _padded_rows(view)
    if rows == view.rows:
        return
    what = f"each step's {view.rows} rows are padded to {rows} with samples that teach nothing"
    if batch % mini == 0:
        yield warned("critic.ppo_mini_batch_size", what, nearest=mini)
    elif batch % _prompts_per_round(view, view.data_parallel):
        yield warned(TRAIN, f"{what}, since {batch} % {MINI} {mini} is not 0", nearest=nearest_multiple(batch, mini))
    else:
        yield warned(MINI, f"{what}, since {TRAIN} {batch} % {mini} is not 0", nearest=_best_mini(view))


def micro_batch_is_set(view: View) -> Iterator[Finding]:
    """verl/utils/config.py validate_config; verl/workers/config/actor.py ActorConfig.__post_init__.

    Both accept a legacy key alone; verl/workers/engine_workers.py init_model then asserts the one per GPU.
    """
    for role, name in _micro_roles(view):
        if view.counts_tokens(role):
            continue
        key, legacy = f"{role}.{name}_per_gpu", f"{role}.{name}"
        if view.find(key) is None and view.has(key):
            old = view.find(legacy)
            also = f", and set {legacy}=null: the workers do not read it" if old is not None else ""
            yield refused(
                key,
                "expected a number, got null, without dynamic batching",
                nearest=_best_micro(view, role, old if isinstance(old, int) else 1),
                cure=f"or turn dynamic batching on: {ACTOR}.use_dynamic_bsz=true{also}",
            )
        elif view.find(legacy) is not None and view.find(key) is not None:
            yield refused(legacy, f"expected null beside {key}={view.find(key)}, got {view.find(legacy)}", cure=f"set {legacy}=null")


def critic_micro_batch(view: View) -> Iterator[Finding]:
    """verl/workers/config/critic.py CriticConfig.__post_init__ and FSDPCriticConfig.validate."""
    if not view.critic or view.find("critic.use_dynamic_bsz", False):
        return
    key, legacy = "critic.ppo_micro_batch_size_per_gpu", "critic.ppo_micro_batch_size"
    old, new = view.find(legacy), view.find(key)
    mini = view.positive("critic.ppo_mini_batch_size")
    if old is None and new is None and view.has(key):
        yield refused(key, "expected a number, got null, without dynamic batching", nearest=1)
    if old is None:
        return
    if new is not None:
        yield refused(legacy, f"expected null beside {key}={new}, got {old}", cure=f"set {legacy}=null")
        return
    sp = max(1, view.size("critic.ulysses_sequence_parallel_size", 1))
    legal = [d for d in divisors(mini) if d * sp >= view.gpus]
    if view.positive(legacy) not in legal:
        what = f"expected a divisor of critic.ppo_mini_batch_size={mini} of at least {ceil(view.gpus / sp)}, got {old}"
        yield refused(legacy, what, nearest=nearest_of(old, legal))


def critic_mini_batch(view: View) -> Iterator[Finding]:
    """verl/workers/config/critic.py CriticConfig.validate; verl/workers/engine_workers.py train_mini_batch."""
    if not view.critic:
        return
    key, n = "critic.ppo_mini_batch_size", view.positive(f"{ROLLOUT}.n")
    mini, batch = view.positive(key), view.positive(TRAIN)
    workers = max(1, view.gpus // view.sequence_parallel("critic", "fsdp"))
    unit = _prompts_per_round(view, workers)
    legal = [d for d in divisors(batch) if d % unit == 0] or [unit]
    if mini > batch:
        yield refused(key, f"expected at most {TRAIN}={batch}, got {mini}", nearest=nearest_of(mini, legal))
    elif mini % unit and view.find("critic.strategy") in ("fsdp", "fsdp2"):
        what = f"{mini} prompts x rollout.n {n} do not divide over {workers} data-parallel workers"
        yield refused(key, what, nearest=nearest_of(mini, legal))


def micro_divides(view: View) -> Iterator[Finding]:
    """verl/workers/engine/utils.py prepare_micro_batches asserts it in the worker, a minute or more after the start."""
    if view.mini_rows % view.data_parallel:
        return
    for role, name in _micro_roles(view):
        if view.counts_tokens(role):
            continue
        key = f"{role}.{name}_per_gpu"
        try:
            micro, rows = view.positive(key), _rows_per_worker(view, role)
        except Absent:
            continue
        if rows % micro:
            legal = _either(neighbours(micro, divisors(rows)))
            what = f"expected a divisor of the {rows} rows that each worker gets, got {micro}, legal: {legal}"
            yield refused(key, what, nearest=nearest_divisor(micro, rows), cure=f"or {ACTOR}.use_dynamic_bsz=true")


def same_batching(view: View) -> Iterator[Finding]:
    """verl/workers/engine_workers.py init_model asserts that the actor trains and scores in the same way."""
    key = f"{ROLLOUT}.log_prob_use_dynamic_bsz"
    if view.has(key) and bool(view.get(key)) != view.dynamic:
        yield refused(key, f"expected the value of {ACTOR}.use_dynamic_bsz, got {view.get(key)}", nearest=view.dynamic)


def tokens_fit(view: View) -> Iterator[Finding]:
    """verl/utils/seqlen_balancing.py rearrange_micro_batches asserts it at the first sequence that is too long.

    The limits of scoring follow the actor's by interpolation, so the actor's finding comes first.
    """
    for key, role in _token_limits(view):
        engine = "fsdp" if role == "critic" else "fsdp_config"
        parallel = view.sequence_parallel(role, engine)
        needed = ceil(view.longest / parallel)
        limit = view.find(key)
        if limit is None and view.has(key):
            yield refused(key, "expected a number of tokens, got null, under dynamic batching", nearest=needed)
        elif isinstance(limit, int) and limit < needed:
            what = f"a prompt and its response take up to {view.longest} tokens over {parallel} sequence-parallel workers, got {limit}"
            yield refused(key, what, nearest=needed)


def generation_batch(view: View) -> Iterator[Finding]:
    """verl/trainer/ppo/v1/trainer_base.py _next_train_batch raises; other modes and group filtering override it to 1."""
    size = view.find("data.gen_batch_size")
    if not isinstance(size, int) or size < 1 or not view.sync or exact_refill(view):
        return
    batch = view.positive(TRAIN)
    if batch % size:
        what = f"expected a divisor of {TRAIN}={batch}, got {size}"
        yield refused("data.gen_batch_size", what, nearest=nearest_divisor(size, batch))


def exact_refill(view: View) -> bool:
    """verl/trainer/ppo/v1/trainer_base.py _init_dataloader: gen_batch_size is 1 whatever was set."""
    return (
        not view.sync
        or bool(view.find("algorithm.filter_groups.enable", False))
        or bool(view.find("trainer.v1.sampler.sync_refill_failed_groups", False))
    )


def _micro_roles(view: View) -> Iterator[tuple[str, str]]:
    if not view.fsdp:
        return
    yield ACTOR, "ppo_micro_batch_size"
    yield ROLLOUT, "log_prob_micro_batch_size"
    if view.reference:
        yield REF, "log_prob_micro_batch_size"


def _token_limits(view: View) -> Iterator[tuple[str, str]]:
    if view.fsdp and view.dynamic:
        yield f"{ACTOR}.ppo_max_token_len_per_gpu", ACTOR
        yield f"{ROLLOUT}.log_prob_max_token_len_per_gpu", ACTOR
    if view.fsdp and view.reference and view.counts_tokens(REF):
        yield f"{REF}.log_prob_max_token_len_per_gpu", REF
    # verl/trainer/ppo/v1/trainer_base.py _setup: the critic always batches by tokens, with this limit and no other
    if view.critic and view.v1 and view.has("critic.ppo_infer_max_token_len_per_gpu"):
        yield "critic.ppo_infer_max_token_len_per_gpu", "critic"


def _padded_rows(view: View) -> int:
    multiple = lcm(view.data_parallel, view.mini_rows)
    if view.critic:
        multiple = lcm(multiple, view.positive("critic.ppo_mini_batch_size") * view.positive(f"{ROLLOUT}.n"))
    return ceil(view.rows / multiple) * multiple


def _rows_per_worker(view: View, role: str) -> int:
    if role == ACTOR:
        return view.mini_rows // view.data_parallel
    if not view.sync:
        raise Absent(TRAIN)
    workers = view.data_parallel if role == ROLLOUT else max(1, view.gpus // view.sequence_parallel(role))
    return max(1, _padded_rows(view) // workers)


def _best_micro(view: View, role: str, wished: int) -> int:
    try:
        return nearest_divisor(max(1, wished // view.data_parallel), _rows_per_worker(view, role))
    except Absent:
        return max(1, wished)


def _prompts_per_round(view: View, workers: int) -> int:
    """The fewest prompts whose responses divide over the workers; every legal number of prompts is a multiple of it."""
    return workers // gcd(workers, view.positive(f"{ROLLOUT}.n"))


def _best_mini(view: View) -> int:
    """The closest mini-batch that fits the workers and, if one exists, divides the batch without padding."""
    mini, batch = view.positive(MINI), view.positive(TRAIN)
    try:
        unit = _prompts_per_round(view, view.data_parallel)
    except Absent:
        unit = 1
    exact = nearest_of(mini, [d for d in divisors(batch) if d % unit == 0])
    return exact if exact is not None else min(nearest_multiple(mini, unit), max(unit, batch // unit * unit))


def _either(values: tuple[int, ...]) -> str:
    return " or ".join(str(value) for value in values)

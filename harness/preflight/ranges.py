"""Refuses numbers that are wrong by nature: a learning rate below zero, a discount above one, half a rollout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

from harness.preflight.finding import Finding, refused
from harness.preflight.view import ACTOR, MODEL, ROLLOUT, Absent, View


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """Legal values of one number; `usual` is named where no closest legal value exists (an open or missing bound)."""

    key: str
    usual: float
    low: float = -inf
    high: float = inf
    open_low: bool = False
    whole: bool = False
    nullable: bool = False
    also: tuple[float, ...] = ()  # legal values outside the range, such as -1 for "all"
    critic: bool = False  # read only where there is a critic

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a finite number"
        bounds = {
            (False, False): "",
            (True, False): f" {'above' if self.open_low else 'of at least'} {self.low:g}",
            (False, True): f" of at most {self.high:g}",
            (True, True): f" in {'(' if self.open_low else '['}{self.low:g}, {self.high:g}]",
        }[isfinite(self.low), isfinite(self.high)]
        return kind + bounds + "".join(f", or {value:g}" for value in self.also)

    def admits(self, value: object) -> bool:
        if value is None:
            return self.nullable
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            return False
        if self.whole and not isinstance(value, int):
            return False
        if value in self.also:
            return True
        return value <= self.high and (value > self.low if self.open_low else value >= self.low)

    def nearest(self, value: object) -> float:
        number = _as_number(value)
        if number is None:
            return self.usual
        if self.whole:
            number = round(number)
        number = min(max(number, self.low), self.high)
        return number if self.admits(number) else self.usual


def _as_number(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value = int(value) if value.lstrip("+-").isdigit() else float(value)
        except ValueError:
            return None
    return value if isinstance(value, int | float) and isfinite(value) else None


def _count(key: str, *, usual: int = 1, critic: bool = False) -> Range:
    return Range(key=key, low=1, usual=usual, whole=True, critic=critic)


def _optim(prefix: str, *, lr: float, critic: bool = False) -> tuple[Range, ...]:
    return (
        Range(key=f"{prefix}.lr", low=0, open_low=True, usual=lr, critic=critic),
        Range(key=f"{prefix}.weight_decay", low=0, usual=0.01, critic=critic),  # torch.optim.AdamW.__init__
        Range(key=f"{prefix}.lr_warmup_steps_ratio", low=0, high=1, usual=0.0, critic=critic),
        # verl/utils/torch_functional.py get_cosine_schedule_with_warmup asserts it
        Range(key=f"{prefix}.min_lr_ratio", low=0, high=1, usual=0.0, nullable=True, critic=critic),
        # verl/workers/engine/fsdp/transformer_impl.py optimizer_step asserts it is set; 0 would erase every gradient
        Range(key=f"{prefix}.clip_grad", low=0, open_low=True, usual=1.0, critic=critic),
        # verl/workers/engine/fsdp/transformer_impl.py _build_lr_scheduler compares it with 0: null is a TypeError
        Range(key=f"{prefix}.lr_warmup_steps", low=-1, usual=-1, whole=True, critic=critic),
    )


RANGES: tuple[Range, ...] = (
    *_optim(f"{ACTOR}.optim", lr=1e-6),
    *_optim("critic.optim", lr=1e-5, critic=True),
    Range(key=f"{ACTOR}.kl_loss_coef", low=0, usual=0.001),
    Range(key=f"{ACTOR}.entropy_coeff", usual=0.0),
    Range(key=f"{ACTOR}.clip_ratio", low=0, open_low=True, usual=0.2),
    Range(key=f"{ACTOR}.clip_ratio_low", low=0, open_low=True, usual=0.2, nullable=True),
    Range(key=f"{ACTOR}.clip_ratio_high", low=0, open_low=True, usual=0.2, nullable=True),
    Range(key=f"{ACTOR}.tau_pos", low=0, open_low=True, usual=1.0),
    Range(key=f"{ACTOR}.tau_neg", low=0, open_low=True, usual=1.05),
    _count(f"{ACTOR}.ppo_epochs"),
    _count(f"{ACTOR}.ppo_mini_batch_size"),
    Range(key=f"{ACTOR}.ppo_micro_batch_size_per_gpu", low=1, usual=1, whole=True, nullable=True),
    Range(key=f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu", low=1, usual=1, whole=True, nullable=True),
    Range(key="actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu", low=1, usual=1, whole=True, nullable=True),
    # verl's v1 agent loop reads no do_sample, and the engine divides the logits by this number: 0 is never meant
    Range(key=f"{ROLLOUT}.temperature", low=0, open_low=True, usual=1.0),
    Range(key=f"{ROLLOUT}.top_p", low=0, high=1, open_low=True, usual=1.0),
    Range(key=f"{ROLLOUT}.top_k", low=1, usual=-1, whole=True, also=(-1, 0)),
    _count(f"{ROLLOUT}.n"),
    _count(f"{ROLLOUT}.tensor_model_parallel_size"),
    _count(f"{ROLLOUT}.data_parallel_size"),
    _count(f"{ROLLOUT}.pipeline_model_parallel_size"),
    _count(f"{ROLLOUT}.agent.num_workers"),
    Range(key=f"{ROLLOUT}.gpu_memory_utilization", low=0, high=1, open_low=True, usual=0.5),
    Range(key=f"{ROLLOUT}.val_kwargs.temperature", low=0, usual=0),
    Range(key=f"{ROLLOUT}.val_kwargs.top_p", low=0, high=1, open_low=True, usual=1.0),
    Range(key=f"{ROLLOUT}.val_kwargs.top_k", low=1, usual=-1, whole=True, also=(-1, 0)),
    _count(f"{ROLLOUT}.val_kwargs.n"),
    Range(key=f"{MODEL}.lora_rank", low=0, usual=0, whole=True),
    Range(key=f"{MODEL}.lora_alpha", low=0, open_low=True, usual=16),
    Range(key="algorithm.gamma", low=0, high=1, usual=1.0),
    Range(key="algorithm.lam", low=0, high=1, usual=1.0),
    Range(key="algorithm.kl_ctrl.kl_coef", low=0, usual=0.001),
    Range(key="critic.cliprange_value", low=0, open_low=True, usual=0.5, critic=True),
    _count("critic.ppo_mini_batch_size", critic=True),
    _count("critic.ppo_epochs", critic=True),
    _count("data.train_batch_size"),
    _count("data.max_prompt_length", usual=512),
    _count("data.max_response_length", usual=512),
    _count("trainer.n_gpus_per_node"),
    _count("trainer.nnodes"),
    _count("trainer.total_epochs"),
    Range(key="trainer.total_training_steps", low=1, usual=1, whole=True, nullable=True),
)


def numbers(view: View) -> Iterator[Finding]:
    for legal in RANGES:
        if legal.critic and not view.critic:
            continue
        try:
            value: Any = view.get(legal.key)
        except Absent:
            continue
        if not legal.admits(value):
            yield refused(legal.key, f"expected {legal}, got {value!r}", nearest=legal.nearest(value))


def betas(view: View) -> Iterator[Finding]:
    """torch.optim.AdamW.__init__ refuses a beta outside [0, 1)."""
    for key in (f"{ACTOR}.optim.betas", "critic.optim.betas"):
        if key.startswith("critic") and not view.critic:
            continue
        try:
            pair = list(view.get(key))
        except (Absent, TypeError):
            continue
        if len(pair) != 2 or not all(_as_number(beta) is not None and 0 <= float(beta) < 1 for beta in pair):
            yield refused(key, f"expected two numbers in [0, 1), got {pair!r}", nearest=[0.9, 0.999])

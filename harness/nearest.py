"""Finds the closest legal value: divisors, multiples, names of a list, keys of a config tree."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches
from math import isqrt

ENOUGH_LIKENESS = 0.55
WEIGHT_OF_LAST_SEGMENT = 0.7
OFTEN_MEANT = ("actor_rollout_ref.actor.", "actor_rollout_ref.rollout.", "algorithm.", "data.", "trainer.", "actor_rollout_ref.", "critic.")

# What people write from other trainers' habits, where spelling alone leads nowhere.
SYNONYMS = {
    "learning_rate": "lr",
    "beta": "kl_loss_coef",
    "kl_beta": "kl_loss_coef",
    "num_generations": "n",
    "group_size": "n",
    "rollouts": "n",
    "num_rollouts": "n",
    "epochs": "total_epochs",
    "max_steps": "total_training_steps",
    "num_steps": "total_training_steps",
    "batch_size": "train_batch_size",
    "mini_batch_size": "ppo_mini_batch_size",
    "micro_batch_size": "ppo_micro_batch_size_per_gpu",
    "max_grad_norm": "clip_grad",
    "epsilon": "clip_ratio",
    "eps_clip": "clip_ratio",
    "epsilon_low": "clip_ratio_low",
    "epsilon_high": "clip_ratio_high",
    "warmup_ratio": "lr_warmup_steps_ratio",
    "warmup_steps": "lr_warmup_steps",
    "lr_scheduler": "lr_scheduler_type",
    "lora_r": "lora_rank",
    "entropy_coef": "entropy_coeff",
    "eval_freq": "test_freq",
}


def divisors(number: int) -> tuple[int, ...]:
    """All divisors of a positive number, ascending."""
    small = [d for d in range(1, isqrt(number) + 1) if number % d == 0]
    return tuple(sorted({*small, *(number // d for d in small)}))


def nearest_of(value: float, candidates: Iterable[int]) -> int | None:
    """The candidate closest to the value; the smaller of two equally close ones."""
    return min(candidates, key=lambda c: (abs(c - value), c), default=None)


def neighbours(value: float, candidates: Iterable[int]) -> tuple[int, ...]:
    """The closest candidate at or below the value and the closest at or above it."""
    ordered = sorted(set(candidates))
    below = [c for c in ordered if c <= value][-1:]
    above = [c for c in ordered if c >= value][:1]
    return tuple(dict.fromkeys(below + above))


def nearest_divisor(value: float, of: int) -> int:
    """The divisor of a positive number that is closest to the value."""
    return min(divisors(of), key=lambda d: (abs(d - value), d))


def nearest_multiple(value: float, of: int) -> int:
    """The positive multiple that is closest to the value; the smaller of two equally close ones."""
    below = max(1, int(value // of)) * of
    return min((below, below + of), key=lambda m: (abs(m - value), m))


def nearest_name(value: object, known: Iterable[str]) -> str | None:
    """The known name that the value most resembles, or None."""
    close = get_close_matches(str(value).lower().replace("-", "_"), sorted(known), n=1, cutoff=0.5)
    return close[0] if close else None


def suggest(key: str, known: Iterable[str], *, limit: int = 3) -> tuple[str, ...]:
    """The known dotted keys that an unknown one was most likely meant to be, best first; empty when none is alike.

    The last segment says what a knob is, the segments before it only where it stands, so the last one weighs most.
    """
    scored = sorted((-_likeness(key, candidate), _rarity(candidate), len(candidate), candidate) for candidate in set(known))
    return tuple(candidate for score, *_, candidate in scored[:limit] if -score >= ENOUGH_LIKENESS)


def _likeness(key: str, candidate: str) -> float:
    path, _, last = key.lstrip("+~").rpartition(".")
    other_path, _, other_last = candidate.rpartition(".")
    of_last = _ratio(last, other_last)
    if SYNONYMS.get(last.lower()) == other_last:
        of_last = 0.95
    if not path:
        return of_last
    return WEIGHT_OF_LAST_SEGMENT * of_last + (1 - WEIGHT_OF_LAST_SEGMENT) * _ratio(path, other_path)


def _rarity(candidate: str) -> int:
    """Of equally alike keys, a knob's short name comes first, then the one in the branch that people change most."""
    if "." not in candidate:
        return -1
    return next((rank for rank, branch in enumerate(OFTEN_MEANT) if candidate.startswith(branch)), len(OFTEN_MEANT))


def _ratio(one: str, other: str) -> float:
    return SequenceMatcher(a=one.lower(), b=other.lower(), autojunk=False).ratio()

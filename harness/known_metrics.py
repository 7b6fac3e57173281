"""The metrics that verl 0.9.1 logs: refuses an objective that will never be logged, and names the nearest that will; pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from harness import preflight
from harness.errors import ConfigError

# verl/trainer/ppo/metric_utils.py and the trainers' own; a family may hold more than is listed (a reward function's extras, say).
FAMILIES = (
    "val-core/",
    "val-aux/",
    "actor/",
    "critic/",
    "response_length/",
    "response/",
    "prompt_length/",
    "num_turns/",
    "global_seqlen/",
    "training/",
    "perf/",
    "timing_s/",
    "timing_per_token_ms/",
)
NAMES = (
    *(f"critic/{of}/{how}" for of in ("score", "rewards", "advantages", "returns", "values") for how in ("mean", "max", "min")),
    *(f"{of}/{how}" for of in ("response_length", "prompt_length") for how in ("mean", "max", "min", "clip_ratio")),
    "actor/pg_loss",
    "actor/pg_clipfrac",
    "actor/pg_clipfrac_lower",
    "actor/ppo_kl",
    "actor/entropy",
    "actor/grad_norm",
    "actor/lr",
    "actor/kl_loss",
    "actor/kl_coef",
    "actor/reward_kl_penalty",
    "actor/reward_kl_penalty_coeff",
    "critic/vf_loss",
    "critic/vf_clipfrac",
    "critic/vf_explained_var",
    "critic/grad_norm",
    "critic/lr",
    "perf/throughput",
    "perf/time_per_step",
    "perf/total_num_tokens",
    "perf/mfu/actor",
    "perf/max_memory_allocated_gb",
    "perf/max_memory_reserved_gb",
    "timing_s/step",
    "timing_s/gen",
    "timing_s/update_actor",
    "training/global_step",
    "training/epoch",
)
_TYPO = 0.84  # likeness from which another name is taken for a slip of the pen


def refuse_unknown(pattern: str, config: Mapping[str, Any]) -> None:
    """Raises ConfigError where no metric of that name can come from this configuration."""
    if pattern.startswith("val-") and not preflight.validates(config):
        raise ConfigError(f"objective.metric: {pattern} is never logged without validation; set trainer.test_freq to 1 or more steps")
    if pattern in NAMES or "*" in pattern.split("/")[0]:
        return
    family = next((family for family in FAMILIES if pattern.startswith(family)), None)
    if family is None:
        raise ConfigError(f"objective.metric: verl logs no metric {pattern!r}; {_hint(pattern, (*NAMES, 'val-core/*/acc/mean@1'))}")
    nearest = difflib.get_close_matches(pattern, [name for name in NAMES if name.startswith(family)], n=1, cutoff=_TYPO)
    if nearest and "*" not in pattern:
        raise ConfigError(f"objective.metric: verl logs no metric {pattern!r}; did you mean {nearest[0]}?")


def _hint(pattern: str, names: tuple[str, ...]) -> str:
    nearest = difflib.get_close_matches(pattern, names, n=1, cutoff=0.5)
    return f"did you mean {nearest[0]}?" if nearest else f"its families are {', '.join(FAMILIES)}"

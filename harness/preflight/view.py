"""Reads a resolved verl config by dotted key; refuses to guess: what is absent or of another type raises `Absent`."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

ACTOR = "actor_rollout_ref.actor"
REF = "actor_rollout_ref.ref"
ROLLOUT = "actor_rollout_ref.rollout"
MODEL = "actor_rollout_ref.model"
OWN_LIBRARY = "harness."  # our own external_lib registers a platform and a rollout, never an estimator or a loss


class Absent(KeyError):  # no failure: the rule that asked does not apply
    """A key that this tree does not have, or has with another type: the rule that asked does not apply."""


class View:
    """One config tree, and what verl derives from it. Sizes are in processes (one per GPU) or rows (prompts x n)."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config

    def get(self, key: str) -> Any:
        node: Any = self._config
        for segment in key.split("."):
            if not isinstance(node, Mapping) or segment not in node:
                raise Absent(key)
            node = node[segment]
        return node

    def has(self, key: str) -> bool:
        try:
            self.get(key)
        except Absent:
            return False
        return True

    def find(self, key: str, default: Any = None) -> Any:
        """The value, or the default where the key is absent or null."""
        try:
            value = self.get(key)
        except Absent:
            return default
        return default if value is None else value

    def whole(self, key: str) -> int:
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Absent(key)
        return value

    def positive(self, key: str) -> int:
        value = self.whole(key)
        if value < 1:
            raise Absent(key)
        return value

    def size(self, key: str, default: int) -> int:
        """A whole number, or the default where the key is absent or null."""
        return default if self.find(key) is None else self.whole(key)

    def real(self, key: str) -> float:
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise Absent(key)
        return float(value)

    def text(self, key: str) -> str:
        value = self.get(key)
        if not isinstance(value, str):
            raise Absent(key)
        return value

    # ---- what verl derives ----

    @property
    def v1(self) -> bool:
        return bool(self.find("trainer.use_v1", True))

    @property
    def sync(self) -> bool:
        return self.v1 and self.find("trainer.v1.trainer_mode", "sync") == "sync"

    @property
    def fsdp(self) -> bool:
        return self.find(f"{ACTOR}.strategy") in ("fsdp", "fsdp2", "fsdp_turbo")

    @property
    def gpus(self) -> int:
        return self.positive("trainer.n_gpus_per_node") * self.positive("trainer.nnodes")

    def sequence_parallel(self, role: str = ACTOR, engine: str = "fsdp_config") -> int:
        """verl/workers/config/actor.py FSDPActorConfig.__post_init__: the deprecated key wins where it is above 1.

        The critic has no such fallback (verl/workers/config/critic.py FSDPCriticConfig.__post_init__).
        """
        own = self.size(f"{role}.{engine}.ulysses_sequence_parallel_size", 1)
        old = self.size(f"{role}.ulysses_sequence_parallel_size", 1) if role != "critic" else 1
        return max(1, old if old > 1 else own)

    @property
    def data_parallel(self) -> int:
        """verl/workers/engine/fsdp/transformer_impl.py get_data_parallel_size."""
        if not self.fsdp:
            raise Absent(f"{ACTOR}.strategy")
        return max(1, self.gpus // self.sequence_parallel())

    @property
    def rows(self) -> int:
        return self.positive("data.train_batch_size") * self.positive(f"{ROLLOUT}.n")

    @property
    def mini_rows(self) -> int:
        return self.positive(f"{ACTOR}.ppo_mini_batch_size") * self.positive(f"{ROLLOUT}.n")

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence that a step can hold: prompt and response."""
        return self.positive("data.max_prompt_length") + self.positive("data.max_response_length")

    @property
    def estimator(self) -> str:
        return self.text("algorithm.adv_estimator")

    @property
    def loss_mode(self) -> str:
        """verl/workers/utils/losses.py ppo_loss: the actor's loss, "vanilla" where none is named."""
        return str(self.find(f"{ACTOR}.policy_loss.loss_mode", "vanilla"))

    @property
    def critic(self) -> bool:
        """verl/trainer/ppo/utils.py need_critic."""
        enable = self.find("critic.enable")
        return bool(enable) if enable is not None else self.find("algorithm.adv_estimator") == "gae"

    @property
    def reference(self) -> bool:
        """verl/trainer/ppo/utils.py need_reference_policy."""
        return bool(self.find("algorithm.use_kl_in_reward", False)) or bool(self.find(f"{ACTOR}.use_kl_loss", False))

    @property
    def bypass(self) -> bool:
        """verl/trainer/ppo/v1/trainer_base.py _compute_old_log_prob: the rollout's log-probs stand in for the actor's."""
        return bool(self.find("algorithm.rollout_correction.bypass_mode", False))

    @property
    def dynamic(self) -> bool:
        return bool(self.find(f"{ACTOR}.use_dynamic_bsz", False))

    def counts_tokens(self, role: str) -> bool:
        """Whether a role's micro-batches are filled by tokens, not by rows."""
        return self.dynamic if role == ACTOR else bool(self.find(f"{role}.log_prob_use_dynamic_bsz", self.dynamic))

    @property
    def steps(self) -> int | None:
        """Training steps that the config fixes; None where the data's size decides."""
        total = self.find("trainer.total_training_steps")
        return total if isinstance(total, int) and not isinstance(total, bool) else None

    @property
    def one_update_per_batch(self) -> bool:
        """The policy that learns is the one that generated: every importance ratio is 1."""
        return (
            self.sync
            and not self.bypass
            and self.whole("data.train_batch_size") <= self.whole(f"{ACTOR}.ppo_mini_batch_size")
            and self.whole(f"{ACTOR}.ppo_epochs") == 1
        )

    @property
    def foreign_names(self) -> bool:
        """A library of the user's may register estimators and losses that we cannot know."""
        library = self.find(f"{MODEL}.external_lib")
        names = [library] if isinstance(library, str) else list(library or ())
        return any(not str(name).startswith(OWN_LIBRARY) for name in names)

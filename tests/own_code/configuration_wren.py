"""The configuration of an architecture that nobody but this folder knows, written as remote code usually is."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig


class WrenConfig(PretrainedConfig):
    """`num_attention_heads` and `num_key_value_heads` are the names that verl asks every model's configuration for."""

    model_type = "wren"

    def __init__(
        self, vocab_size: int = 19, hidden_size: int = 32, depth: int = 2, num_attention_heads: int = 2, places: int = 64, **kwargs: Any
    ) -> None:
        self.vocab_size, self.hidden_size, self.depth, self.places = vocab_size, hidden_size, depth, places
        self.num_attention_heads = self.num_key_value_heads = num_attention_heads
        super().__init__(**kwargs)

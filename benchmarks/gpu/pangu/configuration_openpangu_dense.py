"""A stand-in for the remote code of openPangu-Embedded-7B: the published sizes as defaults, in transformers' Llama configuration."""

from __future__ import annotations

from typing import Any

from transformers import LlamaConfig


class PanguEmbeddedConfig(LlamaConfig):
    """Sizes as in the published config.json. `bias`: of the q, k, v and o projections; those of the MLP have none."""

    model_type = "PanguEmbedded"
    default_theta = 16_000_000.0

    vocab_size: int = 153_376
    hidden_size: int = 4096
    intermediate_size: int = 12_800
    num_hidden_layers: int = 34
    num_attention_heads: int = 32
    num_key_value_heads: int | None = 8
    max_position_embeddings: int = 32_768
    rms_norm_eps: float = 1e-5
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 45_892
    bias: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        self.attention_bias = self.bias
        super().__post_init__(**kwargs)

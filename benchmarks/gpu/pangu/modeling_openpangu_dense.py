"""A stand-in for the remote code of openPangu-Embedded-7B: transformers' Llama decoder under openPangu's names, with its biases.

Loaded by `AutoModelForCausalLM` with `trust_remote_code`; its parameters have the names that vLLM's own `PanguEmbeddedForCausalLM` loads.
"""

from __future__ import annotations

from transformers import LlamaForCausalLM, LlamaModel

from .configuration_openpangu_dense import PanguEmbeddedConfig


class PanguEmbeddedModel(LlamaModel):
    """The decoder without a head."""

    config_class = PanguEmbeddedConfig


class PanguEmbeddedForCausalLM(LlamaForCausalLM):
    """The decoder with its head over the vocabulary; the two embeddings are not tied."""

    config_class = PanguEmbeddedConfig

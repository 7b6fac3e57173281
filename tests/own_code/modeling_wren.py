"""An architecture that nobody but this folder knows: learned places, names of its own, no gradient checkpointing."""

# ruff: noqa: N803, N806 (arrays carry their shapes: batch x time x width)

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import DynamicCache, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_wren import WrenConfig


class Block(nn.Module):
    """Attention and a small network, each on the normalised input."""

    def __init__(self, config: WrenConfig, number: int) -> None:
        super().__init__()
        width, self.heads, self.number = config.hidden_size, config.num_attention_heads, number
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.look, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.think = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))

    def forward(self, x_BTD: torch.Tensor, mask: torch.Tensor, cache: Any) -> torch.Tensor:
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.look(self.before(x_BTD)).chunk(3, -1))
        if cache is not None:
            key, value = cache.update(key, value, self.number)
        seen = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x_BTD = x_BTD + self.mix(seen.transpose(1, 2).flatten(2))
        return x_BTD + self.think(self.between(x_BTD))


class WrenForCausalLM(PreTrainedModel):
    config_class = WrenConfig
    _no_split_modules = ("Block",)
    _supports_sdpa = True

    def __init__(self, config: WrenConfig) -> None:
        super().__init__(config)
        self.words, self.places = nn.Embedding(config.vocab_size, config.hidden_size), nn.Embedding(config.places, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config, number) for number in range(config.depth))
        self.last = nn.LayerNorm(config.hidden_size)
        self.say = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.words

    def get_output_embeddings(self) -> nn.Module:
        return self.say

    def set_output_embeddings(self, head: nn.Module) -> None:
        self.say = head

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        position_ids: torch.Tensor,
        past_key_values: Any = None,
        use_cache: bool = False,
    ) -> CausalLMOutputWithPast:
        cache = DynamicCache() if use_cache and past_key_values is None else past_key_values
        new, known = input_ids.shape[1], cache.get_seq_length() if cache is not None else 0
        past = torch.ones(new, known + new, dtype=torch.bool, device=input_ids.device).tril(known)
        itself = past.triu(known)  # padding sees nothing else, and its numbers must be numbers
        x_BTD = self.words(input_ids) + self.places(position_ids)
        for block in self.blocks:
            x_BTD = block(x_BTD, past & attention_mask[:, None, None, :].bool() | itself, cache)
        return CausalLMOutputWithPast(logits=self.say(self.last(x_BTD)), past_key_values=cache)

"""Batched decoding of a Hugging Face causal model: greedy or sampled, each request with its own random stream.

Refuses to go on with weights of which a tensor was not delivered: the answers would be those of another model, without any error.
"""

# ruff: noqa: N803, N806 (arrays carry their shapes: batch x time x vocabulary)

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TopKLogitsWarper, TopPLogitsWarper


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """Requests of equal sampling are decoded together."""

    temperature: float = 1.0  # 0: greedy
    top_k: int = -1  # none where not positive
    top_p: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    prompt: tuple[int, ...]  # token ids
    limit: int  # tokens to generate at most
    seed: int
    sampling: Sampling


@dataclass(slots=True)
class Answer:
    """What was generated so far; `stop` in verl's words: completed, length, aborted."""

    tokens: list[int]
    log_probs: list[float]
    stop: str = "aborted"


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What a model is loaded from."""

    model: str  # a folder or hub id
    tokenizer: str  # a folder or hub id
    attention: str = "sdpa"  # transformers' attn_implementation
    remote_code: bool = False  # whether the folder's own modelling code may run


class Decoder:
    """One model on the host."""

    def __init__(self, source: Source, *, dtype: torch.dtype) -> None:
        tokenizer = AutoTokenizer.from_pretrained(source.tokenizer, trust_remote_code=source.remote_code)
        self.model = AutoModelForCausalLM.from_pretrained(
            source.model, dtype=dtype, attn_implementation=source.attention, trust_remote_code=source.remote_code
        ).eval()
        self.dtype = dtype
        # Models with code of their own may not know how to leave out the logits of all places but the last.
        self.last_only = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(self.model.forward).parameters else {}
        self.vocabulary = len(tokenizer)
        generation = getattr(self.model, "generation_config", None)  # of models that transformers can generate with
        self.ends = _ends(getattr(generation, "eos_token_id", None)) | _ends(tokenizer.eos_token_id)
        self._undelivered = set(self._wanted())

    @torch.inference_mode()
    def decode(self, requests: Sequence[Request], *, aborted: Callable[[], bool] = lambda: False) -> list[Answer]:
        """Answers to requests of one sampling, in their order; cut short where `aborted` says so between two tokens."""
        sampling = requests[0].sampling
        assert all(request.sampling == sampling for request in requests)
        answers = [Answer([], []) for _ in requests]
        draws = [torch.Generator().manual_seed(request.seed) for request in requests]
        tokens_BT, mask_BT = _left_padded([request.prompt for request in requests])
        places_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
        cache = None
        while not aborted() and any(answer.stop == "aborted" for answer in answers):
            output = self.model(
                input_ids=tokens_BT,
                attention_mask=mask_BT,
                position_ids=places_BT,
                past_key_values=cache,
                use_cache=True,
                **self.last_only,
            )
            cache = output.past_key_values
            log_probs_BV = self._log_probs(output.logits[:, -1], sampling)
            chosen_B = _choose(log_probs_BV, draws, greedy=sampling.temperature == 0)
            self._extend(answers, requests, chosen_B, log_probs_BV)
            tokens_BT, places_BT = chosen_B[:, None], places_BT[:, -1:] + 1
            mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(requests), 1)], 1)
        return answers

    @torch.no_grad()
    def load(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Takes a part of a model's weights; `close_sync` says whether all parts came."""
        own = self.model.state_dict()
        for name, tensor in weights.items():
            own[name].copy_(tensor)
        self._undelivered -= set(weights)

    def close_sync(self) -> None:
        """Raises ValueError where a tensor was not delivered since the last sync."""
        missing, self._undelivered = self._undelivered, set(self._wanted())
        if missing:
            all_of_them = len(self._undelivered)
            raise ValueError(f"weight sync: {len(missing)} of {all_of_them} tensors were not delivered, {min(missing)} among them")

    def shape(self, name: str) -> torch.Size:
        """Raises KeyError for a tensor that the model does not have."""
        return self.model.state_dict()[name].shape

    def _wanted(self) -> list[str]:
        """The first name of each tensor: of those that are tied, one is delivered, and is both."""
        first = {tensor.data_ptr(): name for name, tensor in reversed(self.model.state_dict().items())}
        return list(first.values())

    def _log_probs(self, logits_BV: torch.Tensor, sampling: Sampling) -> torch.Tensor:
        logits_BV = logits_BV.float()
        logits_BV[:, self.vocabulary :] = -torch.inf  # rows that pad the embedding
        if sampling.temperature not in (0, 1):
            logits_BV = logits_BV / sampling.temperature
        if sampling.top_k > 0:
            logits_BV = TopKLogitsWarper(sampling.top_k)(None, logits_BV)
        if sampling.top_p < 1:
            logits_BV = TopPLogitsWarper(sampling.top_p)(None, logits_BV)
        return logits_BV.log_softmax(-1)

    def _extend(self, answers: list[Answer], requests: Sequence[Request], chosen_B: torch.Tensor, log_probs_BV: torch.Tensor) -> None:
        log_probs = log_probs_BV.gather(1, chosen_B[:, None])[:, 0].tolist()
        for answer, request, token, log_prob in zip(answers, requests, chosen_B.tolist(), log_probs, strict=True):
            if answer.stop != "aborted":
                continue
            answer.tokens.append(token)
            answer.log_probs.append(log_prob)
            if token in self.ends:
                answer.stop = "completed"
            elif len(answer.tokens) >= request.limit:
                answer.stop = "length"


def _choose(log_probs_BV: torch.Tensor, draws: Sequence[torch.Generator], *, greedy: bool) -> torch.Tensor:
    """One token id a row; sampled by the inverse of the cumulative distribution, so that a row's draw does not depend on its neighbours."""
    if greedy:
        return log_probs_BV.argmax(-1)
    uniform_B = torch.stack([torch.rand((), generator=draw, dtype=torch.float64) for draw in draws])
    cumulative_BV = log_probs_BV.double().exp().cumsum(-1)
    places_B1 = torch.searchsorted(cumulative_BV, (uniform_B * cumulative_BV[:, -1])[:, None], right=True)
    return places_B1[:, 0].clamp(max=log_probs_BV.shape[1] - 1)


def _left_padded(prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(len(prompt) for prompt in prompts)
    tokens_BT = torch.zeros(len(prompts), width, dtype=torch.long)
    mask_BT = torch.zeros(len(prompts), width, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        tokens_BT[row, width - len(prompt) :] = torch.tensor(prompt)
        mask_BT[row, width - len(prompt) :] = 1
    return tokens_BT, mask_BT


def _ends(token: Any) -> set[int]:
    if token is None:
        return set()
    return set(token) if isinstance(token, list) else {token}

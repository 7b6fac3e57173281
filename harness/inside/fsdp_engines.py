"""What our FSDP engines do otherwise than verl's, on whichever device: log-probabilities at once, and a critic out of any causal model.

Registered by fsdp_cpu.py and fsdp_cuda.py, next to verl's own engines and through verl's own registry.
"""

# ruff: noqa: N803, N806 (arrays carry their shapes: batch x time, tokens x vocabulary)

from __future__ import annotations

import os
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch.distributed.fsdp import FSDPModule
from torch.utils.checkpoint import checkpoint
from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING
from verl.utils import tensordict_utils, torch_functional

from harness.inside.log_probs import log_probs_of

# What verl computes from logits beside log-probabilities and entropy: where a batch asks for one of these, verl's own way is taken.
_OF_THE_LOGITS = ("calculate_sum_pi_squared", "distillation_use_topk", "distillation_only")


class TakesAnyModel:
    """Of any engine: what models with code of their own need, which verl and transformers 5 do not quite agree on."""

    model_config: Any

    def _build_module(self) -> Any:
        config = self.model_config.hf_config
        if not hasattr(config, "tie_word_embeddings"):  # verl asks each one, and not each one knows
            config.tie_word_embeddings = False
        return super()._build_module()  # type: ignore[misc]

    def _build_fsdp_module(self, module: Any) -> Any:
        """FSDP2 changes a model's class; its module stays, for a checkpoint's copy of the model's code is found by it."""
        home = type(module).__module__
        sharded = super()._build_fsdp_module(module)  # type: ignore[misc]
        if isinstance(sharded, FSDPModule):
            type(sharded).__module__ = home
        return sharded


class LogProbsAtOnce(TakesAnyModel):
    """Of an engine with a language model's head: without flash-attention verl's own way is a Python loop over all tokens of a batch.

    verl has a branch for kernels that give log-probabilities and entropy instead of logits; it is given ours.
    """

    engine_config: Any
    compute_entropy_from_logits: Any

    def prepare_model_outputs(self, output: Any, output_args: Any, micro_batch: Any, logits_processor_func: Any) -> Any:
        asked = partial(tensordict_utils.get_non_tensor_data, data=micro_batch, default=False)
        if _flash_attention() or asked(key="use_fused_kernels") or any(asked(key=key) for key in _OF_THE_LOGITS):
            return super().prepare_model_outputs(output, output_args, micro_batch, logits_processor_func)  # type: ignore[misc]
        packed = bool(asked(key="use_remove_padding", default=True))
        lengths_B = micro_batch["input_ids"].offsets().diff()
        seen_BT = None if packed else torch.arange(output.logits.shape[1], device=lengths_B.device) < lengths_B[:, None]
        logits_TV = _scaled(output.logits, output_args, lengths_B, seen_BT)
        found = {"log_probs": log_probs_of(logits_TV, output_args["input_ids_rmpad_rolled"])}
        if asked(key="calculate_entropy"):
            found["entropy"] = self._entropy(logits_TV, packed=packed)
        fused = micro_batch.clone(recurse=False)
        tensordict_utils.assign_non_tensor(fused, use_fused_kernels=True)
        shaped = SimpleNamespace(**{name: _unpacked(values_T, seen_BT) for name, values_T in found.items()})
        return super().prepare_model_outputs(shaped, output_args, fused, logits_processor_func)  # type: ignore[misc]

    def _entropy(self, logits_TV: torch.Tensor, *, packed: bool) -> torch.Tensor:
        """By the function that verl takes: of padded batches never the compiled one."""
        take = self.compute_entropy_from_logits if packed else torch_functional.entropy_from_logits
        if packed and self.engine_config.entropy_from_logits_with_chunking:
            take = partial(take, chunk_size=self.engine_config.entropy_from_logits_chunk_size)
        entropy_T: torch.Tensor = (
            checkpoint(take, logits_TV, use_reentrant=False) if self.engine_config.entropy_checkpointing else take(logits_TV)
        )
        return entropy_T


class ValueOfAnyModel(TakesAnyModel):
    """Of an engine with a value head: verl loads a critic with flash-attention only, and only as a class that transformers has.

    Here it is loaded as its configuration says. Where transformers has no token classifier of it (remote code, vision-language models) the
    head over the vocabulary is replaced by one of a single value.
    """

    def _build_module(self) -> Any:
        model, config = self.model_config, self.model_config.hf_config
        kind, architectures = model.model_type, config.architectures
        classifier = is_token_classifier(config)
        model.model_type = "language_model"  # verl's word for: by transformers' classes
        if classifier:
            config.num_labels, config.classifier_dropout, config.hidden_dropout = 1, 0.0, 0.0
            config.architectures = ["ForTokenClassification"]  # one value for each token
        try:
            module = super()._build_module()
        finally:
            model.model_type, config.architectures = kind, architectures
        return module if classifier else with_value_head(module)

    def _build_lora_module(self, module: Any) -> Any:
        """The head is new, and trained whole: what is random below an adapter stays random."""
        head = module.score if hasattr(module, "score") else module.get_output_embeddings()
        if not hasattr(module, "prepare_inputs_for_generation"):
            module.prepare_inputs_for_generation = (
                None  # peft keeps that of a causal model, which verl says each is; a critic never generates
            )
        adapted = super()._build_lora_module(module)  # type: ignore[misc]
        head.requires_grad_(True)
        return adapted


def is_token_classifier(config: Any) -> bool:
    """Whether transformers itself has a class of this configuration with a head for each token."""
    kind = type(config)
    return kind in MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING and kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING


def with_value_head(module: Any) -> Any:
    """The same model with one output a token. Raises ValueError for one that does not say which layer its head is."""
    old = module.get_output_embeddings()
    if old is None:
        raise ValueError(f"critic: {type(module).__name__} has no output layer to be replaced: get_output_embeddings() gives none")
    head = torch.nn.Linear(old.weight.shape[1], 1, device=old.weight.device, dtype=old.weight.dtype)
    with torch.no_grad():
        module._init_weights(head)
    module.set_output_embeddings(head)
    module.config.tie_word_embeddings = False
    return module


def _flash_attention() -> bool:
    """verl/utils/torch_functional.py logprobs_from_logits: then a kernel of its own takes them."""
    there: bool = torch_functional.FLAH_ATTN_CROSS_ENTROPY_LOSS_AVAILABLE
    return there and os.environ.get("VERL_DISABLE_FLASH_ATTN_CE", "0") != "1"


def _scaled(logits: torch.Tensor, output_args: Any, lengths_B: torch.Tensor, seen_BT: torch.Tensor | None) -> torch.Tensor:
    """One row a token, without padding, divided by the temperature."""
    logits_TV = logits.squeeze(0) if seen_BT is None else logits[seen_BT]
    if output_args.get("temperature_is_one", False):
        return logits_TV
    temperature_T = output_args["temperature_rmpad"] if seen_BT is None else output_args["temperature"].repeat_interleave(lengths_B)
    return logits_TV / temperature_T[:, None].clamp(min=1e-8).to(logits_TV.dtype)


def _unpacked(values_T: torch.Tensor, seen_BT: torch.Tensor | None) -> torch.Tensor:
    """In the shape that verl's branch for fused kernels expects: one packed row, or padded rows."""
    if seen_BT is None:
        return values_T[None]
    return values_T.new_zeros(seen_BT.shape).masked_scatter(seen_BT, values_T)

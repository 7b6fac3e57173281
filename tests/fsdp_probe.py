"""Our FSDP engines in a process of their own, for tests/verl/test_fsdp_engines.py: python fsdp_probe.py <question> ...; prints JSON."""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ |= {"VERL_PLATFORM": "cpu", "RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}

import torch
from hydra import compose, initialize_config_module
from tensordict import TensorDict
from verl.trainer.config import CheckpointConfig
from verl.utils import tensordict_utils, torch_functional
from verl.utils.config import omega_conf_to_dataclass
from verl.workers.config import FSDPEngineConfig, FSDPOptimizerConfig
from verl.workers.engine import EngineRegistry, FSDPEngineWithLMHead
from verl.workers.rollout.base import _ROLLOUT_REGISTRY
from verl.workers.rollout.replica import RolloutReplicaRegistry

from harness.inside import fsdp_cuda
from harness.inside.fsdp_engines import LogProbsAtOnce

VOCABULARY = 19
PROMPTS = ([3, 5, 7, 11, 2], [4, 9], [1, 2, 3, 4, 5, 6, 7])
IMAGE_PLACES = 4
FP32 = {"param_dtype": "fp32", "reduce_dtype": "fp32", "buffer_dtype": "fp32"}


class Ours(LogProbsAtOnce, FSDPEngineWithLMHead):
    """As registered, on whichever device."""


def batch(*rows: Sequence[int], axes: int = 1, **said: Any) -> TensorDict:
    """Sequences of different lengths, as verl's workers are given them; a vision-language model counts places on four axes."""
    tokens = torch.nested.as_nested_tensor([torch.tensor(row) for row in rows], layout=torch.jagged)
    count = torch.cat([torch.arange(len(row)) for row in rows])
    if axes > 1:
        places = torch.nested.nested_tensor_from_jagged(count.expand(axes, -1), tokens.offsets(), jagged_dim=2)
    else:
        places = torch.nested.nested_tensor_from_jagged(count, tokens.offsets())
    data = TensorDict({"input_ids": tokens, "position_ids": places}, batch_size=[len(rows)])
    tensordict_utils.assign_non_tensor(data, **said)
    return data


def without_a_model(kind: type, **settings: Any) -> Any:
    """An engine that never built one: what it makes of logits needs none."""
    engine = object.__new__(kind)
    engine.pad_to_length = engine.use_ulysses_sp = False
    engine.engine_config = SimpleNamespace(
        entropy_checkpointing=False, entropy_from_logits_with_chunking=False, entropy_from_logits_chunk_size=2
    )
    engine.compute_entropy_from_logits = torch_functional.entropy_from_logits
    vars(engine.engine_config).update(settings)
    return engine


def outputs(
    kind: type, logits: torch.Tensor, said: dict[str, Any], settings: dict[str, Any]
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """What the loss is given, and its gradient in the logits."""
    engine, data = without_a_model(kind, **settings), batch(*PROMPTS, **said)
    logits = logits.clone().requires_grad_()
    _, arguments = engine.prepare_model_inputs(data)
    found = engine.prepare_model_outputs(SimpleNamespace(logits=logits), arguments, data, None)
    values = {name: nested.values() for name, nested in found.items()}
    sum((index + 1) * (value * torch.arange(1, len(value) + 1)).sum() for index, value in enumerate(values.values())).backward()
    assert not data.get("use_fused_kernels", False), "the batch was changed"
    return values, logits.grad


def farthest() -> dict[str, float]:
    """Case -> the largest difference between verl's numbers and ours, values and gradients alike."""
    found = {}
    for packed in (False, True):
        shape = (1, sum(map(len, PROMPTS))) if packed else (len(PROMPTS), max(map(len, PROMPTS)))
        logits = 5 * torch.randn(*shape, VOCABULARY, generator=torch.Generator().manual_seed(1))
        for temperature in (1.0, 0.7):
            for settings in ({}, {"entropy_checkpointing": True}):
                for entropy in (False, True):
                    said = {"use_remove_padding": packed, "temperature": temperature, "calculate_entropy": entropy}
                    mine, theirs = (outputs(kind, logits, said, settings) for kind in (Ours, FSDPEngineWithLMHead))
                    assert mine[0].keys() == theirs[0].keys()
                    pairs = [*((mine[0][name], theirs[0][name]) for name in mine[0]), (mine[1], theirs[1])]
                    found[f"{said} {settings}"] = max(float((a - b).abs().max()) for a, b in pairs)
    return found


def registered() -> dict[str, list[str]]:
    """What verl would build on a GPU of NVIDIA's, and of another vendor."""
    names = {}
    for vendor in ("nvidia", "other"):
        os.environ |= {"VERL_ENGINE_DEVICE": "cuda", "VERL_ENGINE_VENDOR": vendor}
        names[vendor] = [
            EngineRegistry.get_engine_cls(model, backend).__name__
            for model in ("language_model", "value_model")
            for backend in ("fsdp", "fsdp2")
        ]
    assert names["nvidia"][0] == fsdp_cuda.CudaLanguageModel.__name__
    return names


def rollouts() -> list[str]:
    """Of which modules verl builds its vLLM rollout once our workers are imported: the trainer's end, and who loads the server's."""
    importlib.import_module("harness.inside.workers")
    return [_ROLLOUT_REGISTRY["vllm", "async"], RolloutReplicaRegistry._registry["vllm"].__module__]


def built(folder: str, kind: str, rank: int = 0) -> Any:
    """verl's engine of this kind with the keys that the policy `hf` sets; with adapters of this rank, if any."""
    short = ["policy=hf", f"policy.path={folder}", "policy.trust_remote_code=true", "algorithm=ppo"]
    with initialize_config_module("conf", version_base="1.3"):
        tree = compose("config", overrides=[*short, f"engine.gradient_checkpointing={'wren' not in folder}"])
    keys = (tree.critic if kind == "value_model" else tree.actor_rollout_ref).model
    keys.lora_rank = rank
    model = omega_conf_to_dataclass(keys)
    model.model_type = kind
    engine = EngineRegistry.new(
        kind,
        "fsdp2",
        model_config=model,
        engine_config=FSDPEngineConfig(strategy="fsdp2", model_dtype="fp32", use_torch_compile=False, mixed_precision=FP32),
        optimizer_config=FSDPOptimizerConfig(lr=1e-3, total_training_steps=2),
        checkpoint_config=CheckpointConfig(),
    )
    engine.initialize()
    return engine


def an_image(engine: Any) -> dict[str, torch.Tensor]:
    """Four by four patches, which the vision tower merges two by two."""
    seen = engine.module.config.vision_config
    size = seen.in_channels * seen.temporal_patch_size * seen.patch_size**2
    return {"pixel_values": torch.rand(4 * IMAGE_PLACES, size), "image_grid_thw": torch.tensor([[1, 4, 4]])}


def forward(folder: str, kind: str) -> dict[str, Any]:
    """The engine's answer to a batch, a step of its optimizer, and a checkpoint that it goes back to."""
    engine = built(folder, kind)
    rows, image, axes = PROMPTS, {}, 1
    if hasattr(engine.module.config, "vision_config"):
        rows, image, axes = ([*PROMPTS[0], *IMAGE_PLACES * [engine.module.config.image_token_id]], *PROMPTS[1:]), an_image(engine), 4
    data = batch(*rows, axes=axes, use_remove_padding=False, temperature=1.0)
    inputs, arguments = engine.prepare_model_inputs(data)
    inputs |= image
    values = engine.prepare_model_outputs(engine.module(**inputs, use_cache=False), arguments, data, None)
    (nested,) = values.values()
    nested.values().square().mean().backward()
    norm = engine.optimizer_step()
    with tempfile.TemporaryDirectory() as place:
        engine.save_checkpoint(place, global_step=1)
        code = sorted(file.name for file in Path(place, "huggingface").glob("*.py"))
        engine.load_checkpoint(place)
    return {"code": code, "values": list(nested.values().shape), "norm": float(norm)}


def adapted(folder: str) -> dict[str, Any]:
    """What a critic with adapters learns beside them, and how far it moved."""
    engine = built(folder, "value_model", rank=4)
    data = batch(*PROMPTS, use_remove_padding=False, temperature=1.0)
    inputs, arguments = engine.prepare_model_inputs(data)
    values = engine.prepare_model_outputs(engine.module(**inputs, use_cache=False), arguments, data, None)["values"].values()
    values.square().mean().backward()
    norm = float(engine.optimizer_step())
    learned = [name for name, parameter in engine.module.named_parameters() if parameter.requires_grad and "lora_" not in name]
    return {"learned": learned, "norm": norm}


if __name__ == "__main__":
    question, *rest = sys.argv[1:]
    questions = {"farthest": farthest, "registered": registered, "rollouts": rollouts, "forward": forward, "adapted": adapted}
    print(json.dumps(questions[question](*rest)))

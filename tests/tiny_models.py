"""Tiny models with random weights, one of each kind that a policy may be; each maker fills an empty folder."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
OWN_CODE = ROOT / "tests/own_code"


def pangu(folder: Path) -> None:
    """openPangu's architecture, by code of its own."""
    sys.path.insert(0, str(ROOT))  # benchmarks are no part of what is installed
    from benchmarks.gpu.pangu.make_pangu import make

    make(folder, shape="tiny")


def wren(folder: Path) -> None:
    """An architecture of nobody's, by code of its own."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from harness.inside.policies import character_tokenizer

    for file in OWN_CODE.glob("*.py"):
        shutil.copy(file, folder)
    tokenizer = character_tokenizer()
    tokenizer.save_pretrained(folder)
    names = {"AutoConfig": "configuration_wren.WrenConfig", "AutoModelForCausalLM": "modeling_wren.WrenForCausalLM"}
    written = f'{{"model_type": "wren", "architectures": ["WrenForCausalLM"], "auto_map": {names}}}'.replace("'", '"')
    (folder / "config.json").write_text(written)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=True, vocab_size=len(tokenizer))
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, trust_remote_code=True)
    model.save_pretrained(folder)


def llama(folder: Path) -> None:
    """One that transformers itself has as a token classifier."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from harness.inside.policies import character_tokenizer

    tokenizer = character_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def vision_language(folder: Path) -> None:
    """Qwen2.5-VL, without a processor: that of transformers needs torchvision."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    from harness.inside.policies import character_tokenizer

    tokenizer = character_tokenizer()
    names = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": names})
    start, end, image, video = tokenizer.convert_tokens_to_ids(names)
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": 64,
        "fullatt_block_indexes": [1],
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        vision_start_token_id=start,
        vision_end_token_id=end,
        image_token_id=image,
        video_token_id=video,
    )
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


MAKERS: dict[str, Callable[[Path], None]] = {"llama": llama, "pangu": pangu, "wren": wren, "vision_language": vision_language}

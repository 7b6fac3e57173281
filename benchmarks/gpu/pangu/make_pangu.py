"""A folder with a model of openPangu's architecture and random weights: python -m benchmarks.gpu.pangu.make_pangu FOLDER --shape tiny|7b

The shape 7b is that of openPangu-Embedded-7B: 8.0 billion bf16 parameters, 16.1 GB in shards. The same seed gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import string
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from benchmarks.gpu.pangu.configuration_openpangu_dense import PanguEmbeddedConfig
from benchmarks.gpu.pangu.modeling_openpangu_dense import PanguEmbeddedForCausalLM

HERE = Path(__file__).parent
CONFIGURATION, MODELING = "configuration_openpangu_dense", "modeling_openpangu_dense"
AUTO_MAP = {
    "AutoConfig": f"{CONFIGURATION}.PanguEmbeddedConfig",
    "AutoModel": f"{MODELING}.PanguEmbeddedModel",
    "AutoModelForCausalLM": f"{MODELING}.PanguEmbeddedForCausalLM",
}
SHAPES: dict[str, dict[str, int]] = {
    "7b": {},  # the configuration's own sizes
    "tiny": {
        "vocab_size": 256,
        "hidden_size": 64,
        "intermediate_size": 200,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
    },
}
SHARD = 4 * 2**30  # bytes
PAD, START, END, USER, ASSISTANT = "<pad>", "<start>", "<end>", "<user>", "<assistant>"
CHAT = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"


def make(folder: Path, *, shape: str, seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> None:
    """Fills an empty folder. A tensor's values depend on the seed and on its place among the model's parameters only."""
    config = PanguEmbeddedConfig(**SHAPES[shape])
    tokenizer = characters(config.vocab_size)
    config.pad_token_id, config.bos_token_id, config.eos_token_id = tokenizer.convert_tokens_to_ids([PAD, START, END])
    config.architectures, config.auto_map, config.dtype = ["PanguEmbeddedForCausalLM"], AUTO_MAP, dtype
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for name in (CONFIGURATION, MODELING):
        shutil.copy(HERE / f"{name}.py", folder)
    save(folder, weights(config, seed, dtype))


def characters(size: int) -> PreTrainedTokenizerFast:
    """One token for each printable character, and names without a text up to `size`: whatever the model says can be decoded."""
    names = [PAD, START, END, USER, ASSISTANT, *string.printable]
    names += [f"<{number}>" for number in range(len(names), size)]
    words = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token=PAD))
    words.pre_tokenizer = pre_tokenizers.Split(Regex(rf"{USER}|{ASSISTANT}|{END}|[\s\S]"), "isolated")
    words.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token=START, eos_token=END, pad_token=PAD, additional_special_tokens=[USER, ASSISTANT]
    )
    tokenizer.chat_template = CHAT
    return tokenizer


def weights(config: PanguEmbeddedConfig, seed: int, dtype: torch.dtype) -> Iterator[tuple[str, torch.Tensor]]:
    """Normal matrices, normal biases (zeros would hide one that is not loaded), norms of one; drawn ahead of whoever takes them."""
    with torch.device("meta"):
        model = PanguEmbeddedForCausalLM(config)
    spread = config.initializer_range

    def filled(numbered: tuple[int, tuple[str, torch.Tensor]]) -> tuple[str, torch.Tensor]:
        number, (name, empty) = numbered
        draw = torch.Generator().manual_seed(seed * 1_000_003 + number)
        values = torch.ones(empty.shape) if "norm" in name else torch.randn(empty.shape, generator=draw) * spread
        return name, values.to(dtype)

    with ThreadPoolExecutor() as pool:  # one generator draws on one core
        yield from pool.map(filled, enumerate(model.state_dict().items()))


def save(folder: Path, tensors: Iterator[tuple[str, torch.Tensor]]) -> None:
    """Shards of up to SHARD bytes and their index, as transformers and vLLM read them."""
    place: dict[str, str] = {}
    shard: dict[str, torch.Tensor] = {}
    total = number = 0

    def write() -> None:
        nonlocal shard, number
        number += 1
        file = f"model-{number:05d}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        place.update(dict.fromkeys(shard, file))
        shard = {}

    for name, tensor in tensors:
        if shard and sum(each.nbytes for each in shard.values()) + tensor.nbytes > SHARD:
            write()
        shard[name] = tensor
        total += tensor.nbytes
    write()
    index = {"metadata": {"total_size": total}, "weight_map": place}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shape", choices=sorted(SHAPES), required=True)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.folder.exists():
        sys.exit(f"{asked.folder} is there already")
    asked.folder.mkdir(parents=True)
    make(asked.folder, shape=asked.shape, seed=asked.seed)


if __name__ == "__main__":
    main()

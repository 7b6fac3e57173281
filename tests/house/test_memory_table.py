"""docs/recipes.md's memory table is what `harness.memory` counts, the shapes are the published models', and every recipe fits its cards."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from harness.memory import GIB, Setting, Shape, memory

ROOT = Path(__file__).parents[2]
ROOM = 8 * GIB  # for what is not counted
# Parameters as the models' publishers count them: the sizes of their weight files over two bytes.
PUBLISHED = {
    "qwen2_5_0_5b": 494_032_768,
    "qwen2_5_1_5b": 1_543_714_304,
    "qwen2_5_3b": 3_085_938_688,
    "qwen2_5_7b": 7_615_616_512,
    "qwen2_5_14b": 14_770_033_664,
    "qwen2_5_32b": 32_763_876_352,
    "qwen3_0_6b": 596_049_920,
    "qwen3_1_7b": 1_720_574_976,
    "qwen3_4b": 4_022_468_096,
    "qwen3_8b": 8_190_735_360,
    "qwen3_14b": 14_768_307_200,
    "qwen3_32b": 32_762_123_264,
    "llama3_2_1b": 1_235_814_400,
    "llama3_2_3b": 3_212_749_824,
    "llama3_1_8b": 8_030_261_248,
}
ONE_LAYER = Shape(hidden=8, intermediate=16, layers=1, heads=2, groups=1, vocabulary=10)


@pytest.fixture(scope="module")
def printer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_memory", ROOT / "docs" / "memory.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_shapes_have_the_published_number_of_parameters(printer: ModuleType) -> None:
    assert {name: printer.SHAPES[name].parameters for name in PUBLISHED} == PUBLISHED


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_hydra")
def test_the_table_is_what_the_function_counts_and_every_recipe_fits_its_cards(printer: ModuleType) -> None:
    lines, counted = printer.table()
    assert "\n".join(lines) in (ROOT / "docs" / "recipes.md").read_text()
    assert len(counted) > 20
    assert {name for name, each in counted.items() if max(each.learning, each.generating) + ROOM > printer.GPU} == set()
    assert {name for name, each in counted.items() if each.cache < 8 * GIB} == set()


def test_every_recipe_for_gpus_has_its_paragraph(printer: ModuleType) -> None:
    text = (ROOT / "docs" / "recipes.md").read_text()
    assert [name for name in printer.experiments() if f"**{name}**" not in text] == []


def test_a_layer_counted_by_hand() -> None:
    assert ONE_LAYER.layer == 8 * 8 * 2 + 8 * 4 * 2 + 8 * 16 * 3 + 2 * 8
    assert ONE_LAYER.parameters == ONE_LAYER.layer + 2 * 80 + 8
    assert ONE_LAYER.adapters(2) == 2 * ((8 + 8) * 2 + (8 + 4) * 2 + (8 + 16) * 3)


def test_full_training_takes_sixteen_bytes_a_parameter_and_lora_four() -> None:
    alone = Setting(gpus=1, gpu_bytes=0, tokens_per_gpu=0, rollout_share=0.0)
    gathered = 2 * max(ONE_LAYER.layer, ONE_LAYER.embeddings)
    full = memory(ONE_LAYER, alone)
    lora = memory(ONE_LAYER, Setting(gpus=1, gpu_bytes=0, tokens_per_gpu=0, rollout_share=0.0, lora_rank=2))
    assert full.learning == 16 * ONE_LAYER.parameters + gathered
    assert full.generating == 12 * ONE_LAYER.parameters
    assert full.host == 8 * ONE_LAYER.parameters  # the reference, and the actor's first weights
    assert lora.learning == 4 * ONE_LAYER.parameters + 16 * ONE_LAYER.adapters(2) + gathered


def test_what_is_offloaded_lies_on_the_host_while_the_rollout_generates() -> None:
    away = Setting(gpus=2, gpu_bytes=100, tokens_per_gpu=0, rollout_share=0.5, param_offload=True, optimizer_offload=True)
    counted = memory(ONE_LAYER, away)
    assert counted.generating == 50
    assert counted.host == (12 + 4 + 4) * ONE_LAYER.parameters

"""`python docs/memory.py` prints the memory table of docs/recipes.md: each GPU recipe's composed configuration through `harness.memory`."""

from __future__ import annotations

from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from harness.memory import GIB, Memory, Setting, Shape, memory, setting_of
from sweeps.composed import CONF
from sweeps.config import trainer_config

GPU = 79 * GIB  # what a card sold with 80 GB has
OF_QWEN2_5: dict[str, Any] = {"biases": "qkv"}
OF_QWEN3: dict[str, Any] = {"head": 128, "groups": 8, "vocabulary": 151936, "normed_heads": True}

# From each model's config.json. The models that see: their language part, without 0.7 billion parameters that read images.
SHAPES = {
    "qwen2_5_0_5b": Shape(hidden=896, intermediate=4864, layers=24, heads=14, groups=2, vocabulary=151936, tied=True, **OF_QWEN2_5),
    "qwen2_5_1_5b": Shape(hidden=1536, intermediate=8960, layers=28, heads=12, groups=2, vocabulary=151936, tied=True, **OF_QWEN2_5),
    "qwen2_5_3b": Shape(hidden=2048, intermediate=11008, layers=36, heads=16, groups=2, vocabulary=151936, tied=True, **OF_QWEN2_5),
    "qwen2_5_7b": Shape(hidden=3584, intermediate=18944, layers=28, heads=28, groups=4, vocabulary=152064, **OF_QWEN2_5),
    "qwen2_5_14b": Shape(hidden=5120, intermediate=13824, layers=48, heads=40, groups=8, vocabulary=152064, **OF_QWEN2_5),
    "qwen2_5_32b": Shape(hidden=5120, intermediate=27648, layers=64, heads=40, groups=8, vocabulary=152064, **OF_QWEN2_5),
    "qwen3_0_6b": Shape(hidden=1024, intermediate=3072, layers=28, heads=16, tied=True, **OF_QWEN3),
    "qwen3_1_7b": Shape(hidden=2048, intermediate=6144, layers=28, heads=16, tied=True, **OF_QWEN3),
    "qwen3_4b": Shape(hidden=2560, intermediate=9728, layers=36, heads=32, tied=True, **OF_QWEN3),
    "qwen3_8b": Shape(hidden=4096, intermediate=12288, layers=36, heads=32, **OF_QWEN3),
    "qwen3_14b": Shape(hidden=5120, intermediate=17408, layers=40, heads=40, **OF_QWEN3),
    "qwen3_32b": Shape(hidden=5120, intermediate=25600, layers=64, heads=64, **OF_QWEN3),
    "llama3_2_1b": Shape(hidden=2048, intermediate=8192, layers=16, heads=32, groups=8, vocabulary=128256, tied=True),
    "llama3_2_3b": Shape(hidden=3072, intermediate=8192, layers=28, heads=24, groups=8, vocabulary=128256, tied=True),
    "llama3_1_8b": Shape(hidden=4096, intermediate=14336, layers=32, heads=32, groups=8, vocabulary=128256),
    "openpangu_7b": Shape(hidden=4096, intermediate=12800, layers=34, heads=32, groups=8, vocabulary=153376, biases="qkvo"),
}
SHAPES |= {"qwen2_5_vl_3b": SHAPES["qwen2_5_3b"], "qwen2_5_vl_7b": SHAPES["qwen2_5_7b"]}

HEAD = (
    "| `experiment=` | parameters | GPUs | a GPU, learning | a GPU, generating | of it keys and values | host |",
    "| --- | --- | --- | --- | --- | --- | --- |",
)


def experiments() -> list[str]:
    """Those for models of SHAPES."""
    names = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
    return [name for name in names if any(name.startswith(f"{policy}_") for policy in SHAPES)]


def opened(experiment: str) -> tuple[str, Setting]:
    """The policy's name, and what of the composed configuration decides on memory."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=[f"experiment={experiment}"])
        return config.policy.name, setting_of(trainer_config(config), gpu_bytes=GPU)


def row(experiment: str, shape: Shape, setting: Setting, counted: Memory) -> str:
    numbers = [counted.learning, counted.generating, counted.cache, counted.host]
    cells = [f"`{experiment}`", f"{shape.parameters / 1e9:.2f} B", str(setting.gpus), *(f"{number / GIB:.0f}" for number in numbers)]
    return f"| {' | '.join(cells)} |"


def table() -> tuple[list[str], dict[str, Memory]]:
    """The lines, and what was counted for each experiment."""
    lines, counted = list(HEAD), {}
    for experiment in experiments():
        policy, chosen = opened(experiment)
        counted[experiment] = memory(SHAPES[policy], chosen)
        lines.append(row(experiment, SHAPES[policy], chosen, counted[experiment]))
    return lines, counted


if __name__ == "__main__":
    print("\n".join(table()[0]))

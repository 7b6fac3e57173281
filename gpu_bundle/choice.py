"""What of a resolved set of packages a bundle carries: what the host lacks, without the files that nothing opens; pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath

# The host's own is too new for vLLM and verl.
REPLACED = frozenset({"transformers", "tokenizers"})
# Compiled for a CUDA that the host has its own of, or tools that belong to an environment.
NEVER = frozenset({"pip", "setuptools", "torch", "triton", "cuda-toolkit", "verl-sweep"})
_NEVER_STARTS = ("nvidia-",)

# Large files that neither verl nor vLLM opens where a dense text model is trained on one host, and how much they are.
_UNUSED = re.compile(
    "|".join(
        (
            r"vllm/vllm-rs$",  # 37 MB: a server of its own
            r"vllm/vllm_flash_attn/_vllm_fa2_C",  # 191 MB: chips before Hopper
            r"vllm/third_party/(fmha_sm100|deep_gemm|flashmla)/.*\.(h|hpp|cuh|cu)$",
            r"vllm/third_party/deep_gemm/_C\.cpython-3(10|11|13|14)",
            r"vllm/(_qutlass_C|_flashmla_C)",
            r"vllm/entrypoints/serve/instrumentator/static/",
            r"vllm/.*\.(jpg|png)$",
            r"ray/(jars|rllib|llm|dashboard/client)/",
            r"ray/serve/(?!.*\.py$)",
            r"pycountry/locales/",
            r"mistral_common/data/.*\.(json|model.*)$",
            r"wandb/bin/(wandb-symon|librust_parquet)",
            r"xgrammar/lib/.*\.a$",
            r".*\.pyc$",
            r"bin/",
        )
    )
)


def canonical(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def carried(resolved: Iterable[str], present: Collection[str]) -> list[str]:
    """Of the pins `name==version`, those whose package is not `present` on the host, or is there in a version that cannot serve."""
    there = {canonical(name) for name in present}
    return sorted(pin for pin in resolved if _is_carried(canonical(pin.partition("==")[0]), there))


def _is_carried(name: str, there: Collection[str]) -> bool:
    if name in NEVER or name.startswith(_NEVER_STARTS):
        return False
    return name not in there or name in REPLACED


def is_used(file: PurePosixPath) -> bool:
    """Of a file below the packages' folder."""
    return _UNUSED.match(str(file)) is None


def pins(text: str) -> list[str]:
    """The lines `name==version` of a resolver's or a list's text, without comments and markers."""
    lines = (line.partition("#")[0].partition(";")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]

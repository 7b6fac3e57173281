"""A published model laid out so that the versions of verl's stack load it: its weights are linked, what is written beside them is small.

openPangu-Embedded is transformers' Llama with one flag of another name: `bias` is that of the four projections of attention, and the MLP
has none. Its own modelling file imports what transformers has no more since 4.54 (`LossKwargs`); its tokenizer keeps its own file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import ConfigError

_CODE = ("modeling_", "modular_", "configuration_")  # files that nobody loads any more


def openpangu(folder: Path, *, source: str) -> None:
    """Fills an empty folder. `source`: the published repository, a folder or on the hub. Raises ConfigError where it cannot be had."""
    there = _snapshot(source)
    try:
        config = json.loads((there / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"policy.source: {there} holds no config.json that can be read: {error}") from error
    (folder / "config.json").write_text(json.dumps(as_llama(config), indent=2) + "\n")
    for path in there.iterdir():
        if path.name != "config.json" and path.is_file() and not path.name.startswith((*_CODE, ".")):
            (folder / path.name).symlink_to(path.resolve())


def as_llama(config: Mapping[str, Any]) -> dict[str, Any]:
    """openPangu's config.json in the words of transformers' Llama."""
    kept = {name: value for name, value in config.items() if name != "auto_map"}
    own = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "mlp_bias": False}
    return kept | own | {"attention_bias": bool(config.get("bias", False))}


def _snapshot(source: str) -> Path:
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(huggingface_hub.snapshot_download(source))
    except (HfHubHTTPError, HFValidationError, OSError) as error:  # no network, no such repository, not in the cache
        why = " ".join(str(error).split())[:200]
        raise ConfigError(f"policy.source: {source} is no folder, and the hub does not give it: {type(error).__name__}: {why}") from error

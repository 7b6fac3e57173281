"""Refuses a model whose files verl would stumble over in a worker, minutes later; reads them and runs nothing of them.

A local folder is looked at, or the copy of a hub's model in the local cache. What only the hub could tell is left to verl.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.preflight.finding import Finding, refused, warned
from harness.preflight.view import MODEL, ROLLOUT, View

CRITIC = "critic.model"
WHOLE, INDICES = ("model.safetensors", "pytorch_model.bin"), ("model.safetensors.index.json", "pytorch_model.bin.index.json")
POINTER = b"version https://git-lfs"  # the first bytes of what Git leaves where a large file was not fetched
TOKENIZER_STARTS, TOKENIZER_ENDS = ("tokenizer", "vocab"), (".model", ".tiktoken", "merges.txt")
TEMPLATES = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")
BY_MESSAGE = "deepseek_v"  # verl encodes the messages of these models itself: verl/utils/tokenizer/deepseek.py
CHAT_AGENTS = ("single_turn_agent", "tool_agent")  # agent loops that are known to write a prompt by the chat template
TRUE = ("1", "ON", "YES", "TRUE")  # huggingface_hub's own list


def hub(view: View) -> Iterator[Finding]:
    """huggingface_hub/constants.py: offline, a model comes from the cache or not at all."""
    for key in (f"{role}.{name}" for role in _roles(view) for name in ("path", "tokenizer_path")):
        name = view.find(key)
        if _offline() and isinstance(name, str) and _is_hub_name(name) and _cached(name) is None:
            what = f"{name} is not in the local cache of the hub, and HF_HUB_OFFLINE forbids to fetch it"
            yield refused(key, what, cure="name a local folder, fetch it first (hf download), or unset HF_HUB_OFFLINE")


def architecture(view: View) -> Iterator[Finding]:
    """verl/workers/config/model.py HFModelConfig.__post_init__ asserts that there is one."""
    for role, folder in _models(view):
        try:
            config = json.loads((folder / "config.json").read_text())
        except (OSError, ValueError):
            yield refused(f"{role}.path", f"{folder / 'config.json'} cannot be read as JSON", cure="fetch it again")
            continue
        listed = config.get("architectures") if isinstance(config, dict) else None
        if not isinstance(listed, list) or len(listed) != 1:
            what = f"expected one class name in `architectures` of {folder / 'config.json'}, got {listed!r}"
            yield refused(f"{role}.path", what, cure='write it there, as in "architectures": ["LlamaForCausalLM"]')


def weights(view: View) -> Iterator[Finding]:
    """transformers/modeling_utils.py _get_resolved_checkpoint_files; other engines read other formats."""
    if not view.fsdp:
        return
    for role, folder in _models(view):
        if (folder / "adapter_config.json").is_file() or "transformers_weights" in _config(folder):
            continue
        index = next((folder / name for name in INDICES if (folder / name).is_file()), None)
        files = [name for name in WHOLE if (folder / name).is_file()]
        if index is not None and not files:
            files = sorted({str(name) for name in _mapping(_read(index).get("weight_map")).values()})
        fault = _fault(folder, files)
        if fault:
            yield refused(f"{role}.path", fault, cure="fetch the whole model: hf download, or git lfs pull in a clone")


def tokenizer(view: View) -> Iterator[Finding]:
    """verl/workers/config/model.py: AutoTokenizer, from `tokenizer_path` or else from the model's own folder."""
    for role, folder in _tokenizers(view):
        names = [entry.name for entry in folder.iterdir()]
        if not any(name.startswith(TOKENIZER_STARTS) or name.endswith(TOKENIZER_ENDS) for name in names):
            cure = f"copy one there, or name where it is: {role}.tokenizer_path=<folder or hub id>, policy.tokenizer for short"
            yield refused(f"{role}.tokenizer_path", f"the folder {folder} holds no tokenizer", cure=cure)


def chat_template(view: View) -> Iterator[Finding]:
    """verl/experimental/agent_loop/agent_loop.py: every prompt is a list of messages, which the tokenizer's template turns into text."""
    key = f"{MODEL}.custom_chat_template"
    if view.find(key) or view.find(f"{ROLLOUT}.agent.default_agent_loop", CHAT_AGENTS[0]) not in CHAT_AGENTS:
        return
    for role, folder in _tokenizers(view):
        settings = _read(folder / "tokenizer_config.json")
        inside = settings.get("chat_template") or _read(folder / "processor_config.json").get("chat_template")
        beside = any((folder / name).exists() for name in TEMPLATES)
        own_code = "auto_map" in settings or str(_config(folder).get("model_type", "")).startswith(BY_MESSAGE)
        if role == MODEL and not (inside or beside or own_code):
            what = f"the tokenizer in {folder} has no chat template, and every prompt is written by one"
            cure = f"take the instruction-tuned model, put a chat_template.jinja there, or set {key}, policy.chat_template for short"
            yield refused(key, what, cure=cure)


def remote_code(view: View) -> Iterator[Finding]:
    """transformers/dynamic_module_utils.py resolve_trust_remote_code: code of the model's own is run where transformers has none for it."""
    for role, folder in _models(view, cached=True):
        config = _config(folder)
        own = _mapping(config.get("auto_map"))
        kind = str(config.get("model_type", ""))
        key = f"{role}.trust_remote_code"
        files = sorted({f"{str(name).rpartition('.')[0]}.py" for name in own.values() if "--" not in str(name)})
        missing = [name for name in files if not (folder / name).is_file()]
        if not own or _known(kind):
            continue
        if not view.find(key, False):
            where = f"{', '.join(files)} in {folder}" if files else f"what auto_map in {folder / 'config.json'} names"
            what = f"{kind or 'this model'} needs code of its own, {where}, which runs only with consent"
            yield refused(key, what, nearest=True, cure="policy.trust_remote_code for short; read it first")
        elif missing and not _is_hub_name(str(view.find(f"{role}.path"))):
            yield refused(
                f"{role}.path", f"auto_map in config.json names {', '.join(missing)}, not in {folder}", cure="fetch the whole model"
            )


def vocabulary(view: View) -> Iterator[Finding]:
    """A token without a row in the embedding ends the worker that meets it."""
    for role, folder in _tokenizers(view):
        source = dict(_models(view)).get(role)
        rows = _text_config(source).get("vocab_size") if source else None
        most = _last_token(folder / "tokenizer.json")
        if isinstance(rows, int) and most is not None and most >= rows:
            what = f"the tokenizer in {folder} knows token {most}, the model's embedding has {rows} rows"
            yield warned(f"{role}.tokenizer_path", what, cure="a prompt or template that holds such a token ends the run")


def images(view: View) -> Iterator[Finding]:
    """harness/inside/decoding.py loads causal models and is given token ids."""
    key = f"{ROLLOUT}.name"
    for role, folder in _models(view, cached=True):
        if role == MODEL and view.find(key) == "hf" and "vision_config" in _config(folder):
            yield refused(key, "the rollout hf decodes text alone, and this model sees images (vision_config)", nearest="vllm")


def _roles(view: View) -> tuple[str, ...]:
    return (MODEL, CRITIC) if view.critic else (MODEL,)


def _models(view: View, *, cached: bool = False) -> Iterator[tuple[str, Path]]:
    """(role, folder with a config.json), of local folders; with `cached` also of models that the hub's cache holds."""
    for role in _roles(view):
        folder = _folder(view.find(f"{role}.hf_config_path") or view.find(f"{role}.path"), cached=cached)
        if folder is not None and (folder / "config.json").is_file():
            yield role, folder


def _tokenizers(view: View) -> Iterator[tuple[str, Path]]:
    for role in _roles(view):
        folder = _folder(view.find(f"{role}.tokenizer_path") or view.find(f"{role}.path"))
        if folder is not None and (view.find(f"{role}.tokenizer_path") or (folder / "config.json").is_file()):
            yield role, folder


def _folder(path: object, *, cached: bool = False) -> Path | None:
    if not isinstance(path, str) or not path:
        return None
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    return _cached(path) if cached and _is_hub_name(path) else None


def _fault(folder: Path, files: list[str]) -> str:
    """What keeps the weights from being read; empty where nothing does."""
    missing = [name for name in files if not (folder / name).is_file()]
    if not files:
        return f"the folder {folder} holds no weights ({', '.join(WHOLE)}, or an index of several)"
    if missing:
        return f"{len(missing)} of {len(files)} files of weights are not in {folder}, {missing[0]} among them"
    unfetched = next((name for name in files if _is_pointer(folder / name)), None)
    return f"{folder / unfetched} is a pointer of Git LFS and not the file itself" if unfetched else ""


def _is_pointer(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(POINTER)) == POINTER


def _known(kind: str) -> bool:
    """Whether transformers has classes for this `model_type`; its list is read as text, because importing it takes seconds."""
    package = importlib.util.find_spec("transformers")
    if package is None or not package.submodule_search_locations:
        return True  # this machine cannot know
    folder = Path(package.submodule_search_locations[0]) / "models/auto"
    return any(f'("{kind}", ' in _text(folder / name) for name in ("auto_mappings.py", "configuration_auto.py"))


def _offline() -> bool:
    return any(os.environ.get(name, "").upper() in TRUE for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))


def _is_hub_name(path: str) -> bool:
    """organisation/name, and no folder."""
    return path.count("/") == 1 and not path.startswith((".", "~", "/")) and "://" not in path and not Path(path).exists()


def _cached(name: str) -> Path | None:
    """The newest copy of a hub's model on this machine (huggingface_hub's cache layout)."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    root = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser() / f"models--{name.replace('/', '--')}"
    named = root / "snapshots" / _text(root / "refs/main").strip()
    if named.name != "snapshots" and named.is_dir():
        return named
    return next((root / "snapshots").glob("*/"), None)


def _config(folder: Path) -> Mapping[str, Any]:
    return _read(folder / "config.json")


def _text_config(folder: Path) -> Mapping[str, Any]:
    config = _config(folder)
    return {**config, **_mapping(config.get("text_config"))}


def _last_token(file: Path) -> int | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return _last_token_of(file, found.st_mtime_ns)


@lru_cache(maxsize=8)
def _last_token_of(file: Path, _changed_ns: int) -> int | None:
    """The highest id; None where the vocabulary is not written as a table of ids. Megabytes, and so read once."""
    whole = _read(file)
    ids = list(_mapping(_mapping(whole.get("model")).get("vocab")).values())
    ids += [_mapping(token).get("id") for token in whole.get("added_tokens") or ()]
    return max((number for number in ids if isinstance(number, int)), default=None)


def _read(file: Path) -> Mapping[str, Any]:
    try:
        return _mapping(json.loads(file.read_text()))
    except (OSError, ValueError):
        return {}


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}

"""Refuses local files and folders that are not there; what a registry or a bucket holds is not asked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from harness.preflight.finding import Finding, refused
from harness.preflight.view import MODEL, View

LOCAL_STARTS = ("/", "./", "../", "~")
TABLE_ENDINGS = (".parquet", ".json", ".jsonl")
PACKAGE, FILE = "pkg://", "file://"
REWARD = "reward.custom_reward_function.path"


def model_path(view: View) -> Iterator[Finding]:
    """verl/workers/config/model.py HFModelConfig.__post_init__, in the trainer's process, after Ray has started."""
    key = f"{MODEL}.path"
    path = view.get(key)
    if not path or path == "???":
        cure = "name a folder or a hub id, policy.path for short"
        yield refused(key, f"expected a model, got {path!r}", cure=cure)
    elif str(path).startswith(LOCAL_STARTS) and not _there(path):
        cure = "name a folder that exists or a hub id (organisation/name)"
        yield refused(key, f"there is no folder {path}", nearest=_sibling(path), cure=cure)
    elif _is_folder(path) and not (Path(path).expanduser() / "config.json").is_file() and not view.find(f"{MODEL}.hf_config_path"):
        yield refused(key, f"the folder {path} holds no config.json", cure="name a folder in Hugging Face's format")


def data_files(view: View) -> Iterator[Finding]:
    """verl/utils/dataset/rl_dataset.py _read_files_and_tokenize."""
    for key in ("data.train_files", "data.val_files"):
        if not view.has(key):
            continue
        listed = view.get(key)
        files = [listed] if isinstance(listed, str) and listed else list(listed) if isinstance(listed, list | tuple) else []
        if not files:
            yield refused(key, f"expected a file or a list of files, got {listed!r}", cure="name a .parquet or .jsonl file")
        for file in files:
            if _looks_like_a_table(str(file)) and not _there(file):
                nearest = _sibling(file) if isinstance(listed, str) else None
                yield refused(key, f"there is no file {file}", nearest=nearest, cure="prepare it, or name another")


def reward_function(view: View) -> Iterator[Finding]:
    """verl/utils/import_utils.py load_module; the legacy key is copied over it (experimental/reward_loop/reward_loop.py)."""
    for key in (REWARD, "custom_reward_function.path", "data.custom_cls.path", "reward.reward_manager.module.path"):
        path = view.find(key)
        if not isinstance(path, str) or not path or path.startswith(PACKAGE):
            continue
        file = path.removeprefix(FILE)
        if "://" not in file and not Path(file).is_file():
            cure = "name an existing file (verl does not expand ~ here) or pkg://package.module"
            yield refused(key, f"there is no file {file}", nearest=_sibling(file), cure=cure)


def model_shape(view: View) -> Mapping[str, int]:
    """Whole numbers of a local model's config.json, its text part included; empty where it cannot be read."""
    config = _model_config(view)
    return {name: value for name, value in config.items() if isinstance(value, int) and not isinstance(value, bool) and value > 0}


def ties_embeddings(view: View) -> bool:
    """Whether a local model's last layer is its embedding."""
    return bool(_model_config(view).get("tie_word_embeddings", False))


def _model_config(view: View) -> Mapping[str, Any]:
    path = view.find(f"{MODEL}.hf_config_path") or view.find(f"{MODEL}.path")
    if not isinstance(path, str) or not _is_folder(path):
        return {}
    try:
        config: Any = json.loads((Path(path).expanduser() / "config.json").read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(config, dict):
        return {}
    text = config.get("text_config")
    return config | (text if isinstance(text, dict) else {})


def _there(path: object) -> bool:
    return Path(str(path)).expanduser().exists()


def _is_folder(path: object) -> bool:
    return Path(str(path)).expanduser().is_dir()


def _looks_like_a_table(path: str) -> bool:
    return "://" not in path and (path.startswith(LOCAL_STARTS) or path.endswith(TABLE_ENDINGS))


def _sibling(path: object) -> str | None:
    """The file of the same folder whose name is closest: most missing files are misspelled ones."""
    wanted = Path(str(path)).expanduser()
    try:
        names = [entry.name for entry in wanted.parent.iterdir()]
    except OSError:
        return None
    close = get_close_matches(wanted.name, names, n=1, cutoff=0.75)
    return str(Path(str(path)).parent / close[0]) if close else None

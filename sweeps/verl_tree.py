"""verl's configuration tree, read from the installed verl without importing it; refuses to guess where verl is missing."""

from __future__ import annotations

import copy
import functools
import importlib.metadata
import importlib.util
import re
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from harness.errors import ConfigError

# verl ships each trainer's tree twice: as a composition of many files, and flattened by its own build. The flattened one is complete,
# and brings no config groups (`engine`, `rollout`, ...) that would mix with this project's.
_PREFIX, _SUFFIX = "_generated_", ".yaml"


def names() -> tuple[str, ...]:
    """The trainers whose trees the installed verl has: `ppo_trainer`, `ppo_megatron_trainer`, ..."""
    return tuple(sorted(path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX) for path in folder().glob(f"{_PREFIX}*{_SUFFIX}")))


def load(name: str) -> DictConfig:
    """One trainer's complete tree, interpolations unresolved; a new object at each call, for Hydra merges into it."""
    return copy.deepcopy(_read(name))


@functools.cache
def _read(name: str) -> DictConfig:
    """Parsed once a process: a thousand lines of yaml take longer than all the rest of a composition; a copy is the least."""
    tree = OmegaConf.load(_path(name))
    assert isinstance(tree, DictConfig)
    return tree


@functools.cache
def top_level_keys() -> frozenset[str]:
    """The keys at the root of any of the trees: what of a composed configuration is verl's."""
    texts = [_path(name).read_text(encoding="utf-8") for name in names()]
    return frozenset(key for text in texts for key in re.findall(r"^(\w+):", text, flags=re.MULTILINE))


def version() -> str:
    """The installed verl's."""
    folder()
    return importlib.metadata.version("verl")


@functools.cache
def folder() -> Path:
    """verl's folder of configurations. Raises ConfigError where verl is not installed."""
    spec = importlib.util.find_spec("verl")  # finds a top-level package without running it
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            "verl is not installed in this environment; install the extra that fits the machine: "
            "pip install 'verl-sweep[gpu]' or 'verl-sweep[cpu]'"
        )
    return Path(spec.submodule_search_locations[0]) / "trainer" / "config"


def _path(name: str) -> Path:
    return folder() / f"{_PREFIX}{name}{_SUFFIX}"

"""Points to complete configurations, through Hydra's own loader; translates Hydra's complaints into one sentence with the nearest match."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.errors import ConfigError
from harness.nearest import nearest_name, suggest

# conf/config.yaml sets what our launcher takes, and Hydra's own structured ones refuse that.
_FOREIGN_LAUNCHER = re.compile(r"Key '\w+' not in '\w+'\s+full_key: hydra\.launcher\.")
_UNKNOWN_KEY = re.compile(r"Could not (?:override|append to) '([^']+)'")


class Composer:
    """Composes what one trial is launched with."""

    def __init__(self, loader: ConfigLoader, base: DictConfig) -> None:
        self._loader = loader
        self.base = base

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """All of a trial's overrides to its configuration. Raises ConfigError."""
        try:
            return self._loader.load_sweep_config(self.base, list(overrides))
        except (HydraException, OmegaConfBaseException) as error:
            raise explain(error, known_keys(self.base)) from error


def explain(error: Exception, known: Sequence[str]) -> ConfigError:
    """One sentence for what Hydra or OmegaConf refused."""
    text = str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        return ConfigError(_no_option(error.missing_cfg_file, error.options))
    if isinstance(error, OverrideParseException):
        return ConfigError(f"{error.override!r} is not a Hydra override: {text.partition(chr(10))[0]}")
    if _FOREIGN_LAUNCHER.search(text):
        return ConfigError("hydra/launcher: this one starts plain task functions only; verl trials need hydra/launcher=local")
    unknown = _UNKNOWN_KEY.search(text)
    if unknown is None:
        return ConfigError(" ".join(text.split()))
    return ConfigError(_no_key(unknown[1], known))


def _no_option(path: str, options: Sequence[str]) -> str:
    group, _, name = path.rpartition("/")
    nearest = nearest_name(name, options)
    hint = f"did you mean {nearest}? " if nearest else ""
    return f"{group}: there is no option {name!r}; {hint}the options are {', '.join(sorted(options))}"


def _no_key(key: str, known: Sequence[str]) -> str:
    nearest = suggest(key, known)
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else "see verl-sweep --cfg job for those that exist"
    return f"{key}: there is no such key in the configuration; {hint} (a new key is added with +{key}=...)"


def known_keys(config: DictConfig) -> tuple[str, ...]:
    """Every dotted key of a composed configuration but Hydra's own."""
    tree = OmegaConf.to_container(config, resolve=False)
    assert isinstance(tree, dict)
    return tuple(_keys({name: value for name, value in tree.items() if name != "hydra"}, ""))


def _keys(tree: Mapping[Any, Any], prefix: str) -> Iterator[str]:
    for name, value in tree.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{name}.")

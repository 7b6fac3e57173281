"""Configurations of jobs that differ in numbers only: composed once, then changed. Refuses nothing; Hydra says what is wrong."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from itertools import pairwise

from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

_MOST_SHAPES = 64  # a space of many choices has many more; each costs a megabyte or more


class Recomposer:
    """What `ConfigLoader.load_sweep_config` gives, in a hundredth of its time where an earlier job differed in numbers only.

    A number never chooses an option of a configuration group, so it cannot change which files a configuration is made of.
    """

    def __init__(self, loader: ConfigLoader, base: DictConfig) -> None:
        self._loader, self._base = loader, base
        self._known: dict[tuple[str, ...], DictConfig] = {}

    def learn(self, overrides: Sequence[str]) -> None:
        """Composes for the jobs to come of this job's shape; what does not compose is left for the job itself to say."""
        with contextlib.suppress(HydraException, OmegaConfBaseException):
            shape = _shape(_parse(overrides))
            if shape is not None and shape not in self._known and len(self._known) < _MOST_SHAPES:
                self._known[shape] = self._compose(overrides)

    def take(self, overrides: Sequence[str]) -> DictConfig:
        """A job's configuration. Changes what is known instead of a copy, so a process takes one: its own, after the fork."""
        parsed = _parse(overrides)
        shape = _shape(parsed)
        if shape is None or shape not in self._known:
            return self._compose(overrides)
        try:
            return _changed(self._known.pop(shape), parsed)
        except OmegaConfBaseException:  # a number of the wrong type: Hydra's sentence says which
            return self._compose(overrides)

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        return self._loader.load_sweep_config(self._base, list(overrides))


def _changed(config: DictConfig, parsed: Sequence[Override]) -> DictConfig:
    """The last steps of Hydra's own composition."""
    for override in filter(_is_number, parsed):
        added = override.is_add() or override.is_force_add()
        OmegaConf.update(config, override.key_or_group, override.value(), merge=True, force_add=added)
    job = config.hydra.job
    with open_dict(config.hydra):
        config.hydra.overrides.task = [override.input_line for override in parsed]
        job.override_dirname = get_overrides_dirname(overrides=list(parsed), **job.config.override_dirname)
        for name in job.env_copy:
            job.env_set[name] = os.environ[name]
    return config


def _parse(overrides: Sequence[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(list(overrides))


def _shape(parsed: Sequence[Override]) -> tuple[str, ...] | None:
    """Equal for jobs that differ in numbers only; None where the order of the overrides matters, or they change Hydra itself."""
    if any(override.is_hydra_override() for override in parsed) or _overlap([override.key_or_group for override in parsed]):
        return None
    return tuple(f"{override.type}:{override.key_or_group}" if _is_number(override) else str(override.input_line) for override in parsed)


def _overlap(keys: Sequence[str]) -> bool:
    """Whether a key occurs twice, or beside one that it lies in."""
    return any(f"{later}.".startswith(f"{earlier}.") for earlier, later in pairwise(sorted(keys)))


def _is_number(override: Override) -> bool:
    return isinstance(override.value(), int | float) and not override.is_delete()

"""What a study's knobs replace: their values where nothing is swept; refuses, where it is to be a trial, what no trial could have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GridSampler

from harness.errors import ConfigError
from sweeps.compose import Composer
from sweeps.space import Space, bare_key, describe

KEY = "study.default_trial"
_SCALARS = (bool, int, float, str, type(None))


def defaults(composer: Composer, space: Space) -> dict[str, Any]:
    """Knob -> its value as a trial would have it, in what is composed without a point: verl's own, or that of what the study holds.

    A knob that exists nowhere else has none, nor have any where the rest does not compose without them.
    """
    try:
        config = composer.compose(space.fixed)
    except ConfigError:
        return {}
    found = {}
    for name, distribution in space.distributions.items():
        value = _as_trial(_value(config, bare_key(name)), distribution, space.texts.get(name, {}))
        if isinstance(value, _SCALARS):
            found[name] = value
    return found


def refuse_untriable(found: Mapping[str, Any], space: Space, sampler: BaseSampler, *, custom: bool) -> None:
    """Raises ConfigError where the point that the knobs replace cannot be a trial of its study."""
    if custom:
        raise ConfigError(f"{KEY}: nobody knows the defaults of what hydra.sweeper.custom_search_space suggests; leave it false")
    for name, distribution in space.distributions.items():
        if name not in found:
            raise ConfigError(f"{KEY}: {name} has no default: without it the configuration gives it no value; leave it false")
        if not _holds(distribution, found[name]):
            where = f"its default {found[name]!r} lies outside {describe(distribution)}"
            raise ConfigError(f"{name}: {where}; widen that, or leave {KEY} false")
    if isinstance(sampler, GridSampler):
        raise ConfigError(f"{KEY}: a grid tries every point once, that of the defaults among them; leave it false")


def _value(config: DictConfig, key: str) -> Any:
    """What the knob is composed to: an option of a group, or a key's value; `...` where there is neither."""
    choices = OmegaConf.select(config, "hydra.runtime.choices") or {}
    if key in choices:
        return choices[key]
    try:
        value = OmegaConf.select(config, key, default=..., throw_on_missing=True)
    except (OmegaConfBaseException, ValueError):  # mandatory and not there, or no key at all, as in `db@source`
        return ...
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _as_trial(value: Any, distribution: BaseDistribution, texts: Mapping[str, str]) -> Any:
    """In the distribution's own type, where it has that value: 1 is 1.0 to an interval, and a list is its text."""
    if isinstance(value, list):
        return next((choice for choice, text in texts.items() if _read(text) == value), str(value))
    if isinstance(distribution, CategoricalDistribution):
        alike = (choice for choice in distribution.choices if choice == value and isinstance(choice, bool) == isinstance(value, bool))
        return next(alike, value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(distribution, FloatDistribution):
            return float(value)
        if isinstance(distribution, IntDistribution) and float(value).is_integer():
            return int(value)
    return value


def _read(text: str) -> Any:
    return OverridesParser.create().parse_override(f"x={text}").value()


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a trial of the study can have it."""
    if isinstance(distribution, CategoricalDistribution):
        return any(choice == value and type(choice) is type(value) for choice in distribution.choices)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    whole = not isinstance(distribution, IntDistribution) or isinstance(value, int)
    return whole and distribution._contains(distribution.to_internal_repr(value))

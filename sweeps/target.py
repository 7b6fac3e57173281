"""Builds what a yaml with `_target_` describes; refuses unknown parameters, missing packages and anything that is not of the right base."""

from __future__ import annotations

import importlib.util
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from optuna.exceptions import ExperimentalWarning

from harness.errors import ConfigError

T = TypeVar("T")

# Optuna imports these when the first point is sampled; here the user hears of it before anything starts.
_PACKAGES = {
    "CmaEsSampler": ("cmaes",),
    "GPSampler": ("torch", "scipy"),
    "QMCSampler": ("scipy",),
    "Racing": ("scipy",),
    "WilcoxonPruner": ("scipy",),
}

# Optuna marks these classes experimental each time one is built. Naming one in a yaml is the consent that the warning asks for.
_EXPERIMENTAL = "(BruteForceSampler|NSGAIIISampler|PartialFixedSampler|QMCSampler|PatientPruner|WilcoxonPruner) is experimental"


def build_target(config: Mapping[str, object], base: type[T], *, where: str, **late: object) -> T:
    """`late` arguments reach the class as they are, past OmegaConf. `where` names the yaml in messages. Raises ConfigError."""
    for part in targets(config):
        _check(part, where=where)
    target = locate(config, where=where)
    if isinstance(target, type) and not issubclass(target, base):
        raise ConfigError(f"{where}: {config['_target_']} is not {_kind(base)}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_EXPERIMENTAL, category=ExperimentalWarning)
        try:
            built = instantiate(config, _partial_=True, _convert_="all")(**late)
        except (InstantiationException, TypeError, ValueError) as error:
            raise ConfigError(f"{where}: {config['_target_']} refuses its parameters: {error}") from error
    if not isinstance(built, base):
        raise ConfigError(f"{where}: {config['_target_']} made a {type(built).__name__}, which is not {_kind(base)}")
    return built


def _kind(base: type) -> str:
    return f"an optuna {base.__name__}" if base.__module__.startswith("optuna.") else f"a {base.__module__}.{base.__name__}"


def targets(config: object) -> Iterator[Mapping[str, object]]:
    """Every mapping with a `_target_`, the outermost first."""
    if not isinstance(config, Mapping):
        return
    if "_target_" in config:
        yield config
    for value in config.values():
        yield from targets(value)


def locate(config: Mapping[str, object], *, where: str) -> Callable[..., object]:
    path = config.get("_target_")
    if not isinstance(path, str) or path == "???":
        raise ConfigError(f"{where}: give _target_, the dotted path of a class, as in optuna.samplers.TPESampler")
    try:
        found = get_object(path)
    except Exception as error:  # whatever the user's module raises while it is imported
        raise ConfigError(f"{where}: cannot import {path!r}: {' '.join(str(error).split())}") from error
    if not callable(found):
        raise ConfigError(f"{where}: {path!r} is neither a class nor a function")
    return found  # type: ignore[no-any-return] # a callable that came through an import by name


def accepted(target: Callable[..., object]) -> tuple[str, ...] | None:
    """The parameter names that it takes; None where it takes any."""
    parameters = inspect.signature(target).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return tuple(parameter.name for parameter in parameters)


def _check(part: Mapping[str, object], *, where: str) -> None:
    target = locate(part, where=where)
    name = getattr(target, "__name__", str(target))
    given = [key for key in part if not (key.startswith("_") and key.endswith("_"))]
    known = accepted(target)
    for key in given:
        if known is not None and key not in known:
            raise ConfigError(f"{where}: {name} has no parameter {key!r}; it takes {', '.join(known) or 'none'}")
        if part[key] == "???":
            raise ConfigError(f"{where}: {name} needs {key}; set {where.replace('/', '.')}.{key}=...")
    missing = [package for package in _packages(target) if importlib.util.find_spec(package) is None]
    if missing:
        raise ConfigError(f"{where}: {name} needs {' and '.join(missing)}; pip install {_cure(missing)}")


def _packages(target: Callable[..., object]) -> tuple[str, ...]:
    lines = inspect.getmro(target) if isinstance(target, type) else ()
    return next((_PACKAGES[line.__name__] for line in lines if line.__name__ in _PACKAGES and line.__module__.startswith("optuna.")), ())


def _cure(missing: list[str]) -> str:
    extra = ["'verl-sweep[samplers]'"] if set(missing) - {"torch"} else []
    return " ".join([*extra, *(["torch (the extras cpu and gpu bring it)"] if "torch" in missing else [])])

"""A user's own function that suggests further parameters of a trial; refuses one that touches what the space already holds."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from hydra.utils import get_object
from omegaconf import DictConfig
from optuna.trial import Trial

from harness.errors import SpaceError
from sweeps.space import Space, bare_key

CustomSpace = Callable[[DictConfig, Trial], object]  # what it returns is not looked at

# Optuna's words for a name that is suggested again with another distribution: a RuntimeWarning, and two ValueErrors.
_CLASHES = ("Inconsistent parameter values", "Cannot set different distribution kind", "does not support dynamic value space")


def load_custom_space(path: str) -> CustomSpace:
    """The function at a dotted path, as in `my_project.spaces.configure`. Raises SpaceError."""
    try:
        found = get_object(path)
    except Exception as error:  # whatever the user's module raises while it is imported
        raise SpaceError(f"hydra.sweeper.custom_search_space: cannot import {path!r}: {error}") from error
    if not callable(found):
        raise SpaceError(f"hydra.sweeper.custom_search_space: {path!r} is not a function (config, trial) -> None")
    return found  # type: ignore[no-any-return] # a callable that came through an import by name


def suggest_custom(custom: CustomSpace, config: DictConfig, trial: Trial, space: Space) -> tuple[str, ...]:
    """Lets the function suggest; returns the overrides of what it added to the space. Raises SpaceError on a collision."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=_CLASHES[0], category=RuntimeWarning)
        try:
            custom(config, trial)
        except (RuntimeWarning, ValueError) as error:
            if not any(words in str(error) for words in _CLASHES):
                raise
            raise SpaceError(f"custom_search_space suggests a parameter a second time, with another distribution: {error}") from error
    added = {name: value for name, value in trial.params.items() if name not in space.distributions}
    taken = {bare_key(name) for name in space.distributions} | {_key(line) for line in space.fixed if not line.startswith("~")}
    for name in added:
        if bare_key(name) in taken:
            raise SpaceError(f"custom_search_space suggests {name!r}, which the command line or hydra.sweeper.params sets already")
    return space.overrides(added)


def _key(line: str) -> str:
    return bare_key(line.partition("=")[0])

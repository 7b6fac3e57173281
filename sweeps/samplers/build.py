"""Builds the sampler that `hydra/sweeper/sampler` names; refuses one that cannot work in the study's space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from optuna.samplers import BaseSampler, BruteForceSampler, GridSampler, QMCSampler

from harness.errors import ConfigError
from sweeps.space import Space, describe, finite_values
from sweeps.target import accepted, build_target, locate

WHERE = "hydra/sweeper/sampler"

# Their seed orders one fixed sequence in which the trials so far are the place: moving the seed would shuffle it anew.
_KEEP_SEED = (GridSampler, QMCSampler)


def build_sampler(
    config: Mapping[str, object],
    space: Space,
    *,
    trials_so_far: int,
    study_seed: int | None,
    candidates: Sequence[Mapping[str, object]] | None = None,
) -> BaseSampler:
    """`trials_so_far` moves the seed, since a resumed study with a constant one proposes its trial 0 again.

    `candidates` are all points that there are, for a sampler that can choose among points and was given none. Raises ConfigError.
    """
    target = locate(config, where=WHERE)
    seeded = _with_seed(config, trials_so_far=trials_so_far, study_seed=study_seed)
    late: dict[str, object] = {}
    if isinstance(target, type) and issubclass(target, GridSampler):
        late["search_space"] = _grid(seeded.pop("search_space", None), space)
    if isinstance(target, type) and issubclass(target, BruteForceSampler):
        _grid(None, space)
    if candidates is not None and seeded.get("candidates", ...) is None:
        late["candidates"] = candidates
        del seeded["candidates"]
    return build_target(seeded, BaseSampler, where=WHERE, **late)  # type: ignore[type-abstract] # the base is only compared with


def refuse_objectives(sampler: BaseSampler, number: int) -> None:
    """A sampler of ours ranks trials by one objective. Raises ConfigError."""
    if number > 1 and type(sampler).__module__.startswith("sweeps.samplers."):
        raise ConfigError(f"{WHERE}: {type(sampler).__name__} ranks trials by one objective, and there are {number}; take nsgaii or motpe")


def remembers_nothing(sampler: BaseSampler) -> bool:
    """Whether all that decides its next proposal is its seed and the study's storage: so it is with Optuna's own, and ours."""
    return type(sampler).__module__.startswith(("optuna.", "sweeps.samplers."))


def _with_seed(config: Mapping[str, object], *, trials_so_far: int, study_seed: int | None) -> dict[str, object]:
    """The same config with the seed of every sampler in it set, nested ones included."""
    filled = {
        key: _with_seed(value, trials_so_far=trials_so_far, study_seed=study_seed)
        if isinstance(value, Mapping) and "_target_" in value
        else value
        for key, value in config.items()
    }
    target = locate(config, where=WHERE)
    if isinstance(target, type) and not issubclass(target, BaseSampler):
        return filled
    if "seed" not in config and "seed" not in (accepted(target) or ()):
        return filled
    seed = study_seed if config.get("seed") is None else config["seed"]
    if seed is None:
        return filled
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ConfigError(f"{WHERE}: seed: expected a whole number or null, got {seed!r}")
    keeps = isinstance(target, type) and issubclass(target, _KEEP_SEED)
    return {**filled, "seed": seed if keeps else seed + trials_so_far}


def _grid(written: object, space: Space) -> dict[str, list[object]]:
    """The grid's values by name: the yaml's, which may hold names of a custom search space too, else all of the space's."""
    if isinstance(written, Mapping):
        absent = sorted({*space.distributions} - {*map(str, written)})
        if absent:
            raise ConfigError(
                f"{WHERE}: search_space gives no values for {absent[0]!r}, which is swept; add it, or leave search_space null"
            )
        return {str(name): list(values) for name, values in written.items()}
    grid = {}
    for name, distribution in space.distributions.items():
        values = finite_values(distribution)
        if values is None:
            raise ConfigError(
                f"{name}: this sampler tries every point, and {describe(distribution)} has infinitely many; write choice or range"
            )
        grid[name] = list(values)
    return grid

"""Builds the plan that `hydra/sweeper/plan` names; refuses what is not one, and studies that it cannot carry."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from harness.errors import ConfigError
from sweeps.plans.once import Once
from sweeps.plans.plan import BasePlan, Terms
from sweeps.space import Space, bare_key
from sweeps.target import build_target

WHERE = "hydra/sweeper/plan"
SEED = "seed"
_LENGTH = ("steps", "trainer.total_training_steps")


def build_plan(config: Mapping[str, object] | None) -> BasePlan:
    """Raises ConfigError."""
    if config is None:
        return Once()
    return build_target(config, BasePlan, where=WHERE)  # type: ignore[type-abstract] # the base is only compared with


def refuse_for_tasks(plan: BasePlan) -> None:
    """A plain task function says nothing before it returns, and its seed is its own affair. Raises ConfigError."""
    if plan.full_runs:
        raise ConfigError(f"{WHERE}: the plan {type(plan).__name__} is for verl trials; plain task functions need hydra/sweeper/plan=once")


def terms_of(
    plan: BasePlan,
    space: Space,
    trees: Collection[Mapping[str, Any]],
    *,
    n_trials: int,
    objectives: int,
    follow_seed: Collection[str],
    exhaustive: bool,
    default: Mapping[str, Any] | None,
) -> Terms:
    """What a plan that counts full runs is told of a study. Raises ConfigError where it cannot carry it.

    `trees`: the trainer's configurations at opposite corners of the space; `follow_seed`: verl's keys that the knob `seed` sets;
    `exhaustive`: whether the sampler tries each point once; `default`: the point that the knobs replace, where it is to be a trial.
    """
    name, otherwise = f"the plan {type(plan).__name__}", "or use hydra/sweeper/plan=once"
    if objectives > 1:
        raise ConfigError(f"{WHERE}: {name} ranks trials by one objective, and there are {objectives}; take one, {otherwise}")
    swept = {bare_key(knob) for knob in space.distributions}
    if seeds := sorted(swept & {SEED, *follow_seed}):
        raise ConfigError(f"{seeds[0]}: {name} chooses seeds itself; do not sweep it, {otherwise}")
    if "data.seed" not in follow_seed:
        raise ConfigError(
            f"data.seed: {name} sets other seeds by the knob seed, which this does not follow here; set seed=..., {otherwise}"
        )
    if lengths := sorted(swept & set(_LENGTH)):
        raise ConfigError(f"{lengths[0]}: {name} counts full runs, which have one length; do not sweep it, {otherwise}")
    steps = [tree["trainer"].get("total_training_steps") for tree in trees]
    if not steps or any(not isinstance(count, int) or count < 1 for count in steps):
        raise ConfigError(f"trainer.total_training_steps: {name} needs the number of steps of a full run; set steps=...")
    seed = next(iter(trees))["data"]["seed"]
    most = space.size if exhaustive else None
    terms = Terms(budget=n_trials, total_steps=steps[0], seed=seed, most_configurations=most, default=default)
    if why := plan.refusal(terms):
        raise ConfigError(f"hydra.sweeper.n_trials: {why}")
    return terms

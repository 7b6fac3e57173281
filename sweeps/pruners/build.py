"""Builds the pruner that `hydra/sweeper/pruner` names; refuses what is not one."""

from __future__ import annotations

from collections.abc import Mapping

from optuna.pruners import BasePruner

from sweeps.target import build_target

WHERE = "hydra/sweeper/pruner"


def build_pruner(config: Mapping[str, object]) -> BasePruner:
    """Raises ConfigError. Pruning is for one objective: Optuna's report and should_prune refuse several."""
    return build_target(config, BasePruner, where=WHERE)  # type: ignore[type-abstract] # the base is only compared with

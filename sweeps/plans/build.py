"""Builds the plan that `hydra/sweeper/plan` names; refuses what is not one, and studies that it cannot carry."""

from __future__ import annotations

from collections.abc import Mapping

from sweeps.plans.plan import BasePlan
from sweeps.target import build_target

WHERE = "hydra/sweeper/plan"


def build_plan(config: Mapping[str, object]) -> BasePlan:
    """Raises ConfigError."""
    return build_target(config, BasePlan, where=WHERE)  # type: ignore[type-abstract] # the base is only compared with

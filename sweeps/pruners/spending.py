"""What a trial had used up at each of its reports: noted in the storage before the report, so that it alone decides of whom is pruned."""

from __future__ import annotations

from collections.abc import Mapping

import optuna
from optuna.trial import FrozenTrial

from harness.expense import Resource
from sweeps.target import targets

_NOTED = "spent:"  # and the step: a system attribute, as Optuna's own pruners keep theirs


def resource_of(config: Mapping[str, object] | None) -> Resource:
    """What the pruner that a yaml describes counts in, or one inside it; a class that is not ours may mean something else by that word."""
    named = [str(part["resource"]) for part in targets(config) if "resource" in part]
    return next((resource for resource in Resource if resource in named), Resource.STEPS)


def note(trial: optuna.Trial, step: int, amount: float) -> None:
    """To be called before the report of that step."""
    trial.storage.set_trial_system_attr(trial._trial_id, f"{_NOTED}{step}", amount)


def noted(trial: FrozenTrial) -> dict[int, float]:
    """Step -> amount."""
    return {int(name.removeprefix(_NOTED)): amount for name, amount in trial.system_attrs.items() if name.startswith(_NOTED)}

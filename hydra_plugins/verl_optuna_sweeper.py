"""The door to `hydra/sweeper=verl_optuna`; loads nothing heavy, because Hydra imports it in every process that uses Hydra."""

from __future__ import annotations

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class VerlOptunaSweeper(Sweeper):
    """An Optuna study of a Hydra application: of verl trials through `verl-sweep`, or of any task function that returns a number."""

    def __init__(
        self,
        sampler: Any,
        direction: Any,
        storage: str | None,
        study_name: str | None,
        n_trials: int,
        n_jobs: int,
        max_failure_rate: float,
        params: DictConfig | None,
        custom_search_space: str | None,
        pruner: Any = None,
        plan: Any = None,
    ) -> None:
        self.options = {
            "sampler": sampler,
            "pruner": pruner,
            "plan": plan,
            "direction": direction,
            "storage": storage,
            "study_name": study_name,
            "n_trials": n_trials,
            "n_jobs": n_jobs,
            "max_failure_rate": max_failure_rate,
            "params": params,
            "custom_search_space": custom_search_space,
        }
        self.hydra_context: HydraContext | None = None
        self.task_function: TaskFunction | None = None
        self.config: DictConfig | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> Any:
        from sweeps.sweeper import sweep

        assert self.hydra_context is not None, "setup() comes first"
        assert self.task_function is not None, "setup() comes first"
        assert self.config is not None, "setup() comes first"
        return sweep(self.hydra_context, self.task_function, self.config, self.options, arguments)

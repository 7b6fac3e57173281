"""The door to `hydra/launcher=local`; loads nothing heavy, because Hydra imports it in every process that uses Hydra."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from harness.launchers.base import EngineLauncher
    from sweeps.jobs import LocalJobs


class LocalLauncher(Launcher):
    """Slots on this host: for the engines of a study, and for plain task functions."""

    def __init__(
        self, slots: int | None, gpus_per_slot: int, slots_per_gpu: int, gpus: Any, jobs_per_process: int | None, engines: Any
    ) -> None:
        self._wish: dict[str, Any] = {"slots": slots, "gpus_per_slot": gpus_per_slot, "slots_per_gpu": slots_per_gpu, "gpus": gpus}
        self._engines = engines
        self._jobs_per_process = jobs_per_process
        self._jobs: LocalJobs | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from sweeps.jobs import LocalJobs

        self._jobs = LocalJobs(hydra_context, task_function, config, wish=self._wish, jobs_per_process=self._jobs_per_process)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        assert self._jobs is not None, "setup() comes first"
        return self._jobs.launch(job_overrides, initial_job_idx)

    def submit(self, overrides: Sequence[str], index: int) -> None:
        assert self._jobs is not None, "setup() comes first"
        self._jobs.submit(overrides, index)

    def finished(self) -> Iterable[tuple[int, JobReturn]]:
        assert self._jobs is not None, "setup() comes first"
        return self._jobs.finished()

    def close(self) -> None:
        """No more jobs are submitted."""
        if self._jobs is not None:
            self._jobs.close()

    def job_slots(self, at_most: int) -> int:
        """How many task functions can run at once."""
        assert self._jobs is not None, "setup() comes first"
        return self._jobs.room(at_most)

    def engine_launcher(self) -> EngineLauncher:
        """Where the engines of a study run. Raises ConfigError where the host lacks the GPUs."""
        from sweeps.jobs import engine_launcher

        return engine_launcher(self._engines, **self._wish)

"""`hydra/launcher=local`: plain Hydra task functions in processes of their own, one to a slot; and the engine launcher of a study."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from harness.errors import ConfigError, RunFailed
from harness.launchers.base import EngineLauncher
from harness.launchers.local import cpu_slots, gpu_slots, visible_gpus
from harness.types import Slot
from sweeps.recompose import Recomposer

# A forked child has the task function, its closures and everything that the application registered, without pickling any of it.
_FORK = multiprocessing.get_context("fork")


def slots_for(*, slots: int | None, gpus_per_slot: int, gpus: Sequence[Any] | None) -> tuple[Slot, ...]:
    """Raises ConfigError where there are too few GPUs."""
    if gpus_per_slot == 0:
        return cpu_slots(1 if slots is None else slots)
    found = visible_gpus() if gpus is None else tuple(str(gpu) for gpu in gpus)
    return gpu_slots(found, gpus_per_slot, slots)


def engine_launcher(config: Any, *, slots: int | None, gpus_per_slot: int, gpus: Sequence[Any] | None) -> EngineLauncher:
    """Builds the `engines` of a launcher's configuration for its slots."""
    if not isinstance(config, Mapping | DictConfig) or "_target_" not in config:
        raise ConfigError(f"hydra.launcher.engines: expected a mapping with _target_, got {config!r}")
    engines: EngineLauncher = instantiate(config, _partial_=True)(slots=slots_for(slots=slots, gpus_per_slot=gpus_per_slot, gpus=gpus))
    return engines


@dataclass(slots=True)
class _Job:
    index: int
    slot: Slot
    process: ForkProcess
    answer: Connection


class LocalJobs:
    """Task functions of one application, as jobs."""

    def __init__(
        self,
        hydra_context: HydraContext,
        task_function: TaskFunction,
        config: DictConfig,
        *,
        slots: int | None,
        gpus_per_slot: int,
        gpus: Sequence[Any] | None,
    ) -> None:
        self._context, self._function, self._config = hydra_context, task_function, config
        self._wish = {"slots": slots, "gpus_per_slot": gpus_per_slot, "gpus": gpus}
        self._slots: list[Slot] | None = None  # those that are free
        self._jobs: dict[int, _Job] = {}
        self._recomposer = Recomposer(hydra_context.config_loader, config)

    def room(self, at_most: int) -> int:
        """How many jobs can run at once, up to `at_most` where the configuration leaves it open."""
        if self._wish["slots"] is None and not self._wish["gpus_per_slot"]:
            self._wish["slots"] = at_most
        self._slots = list(slots_for(**self._wish))  # type: ignore[arg-type] # as given to __init__
        return len(self._slots)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Hydra's own contract: all jobs to their end, results in the order of the jobs."""
        room = self.room(len(job_overrides))
        results: dict[int, JobReturn] = {}
        for index, overrides in enumerate(job_overrides, start=initial_job_idx):
            if len(self._jobs) == room:
                results.update(self.finished())
            self._start(list(overrides), index, whole=True)
        while self._jobs:
            results.update(self.finished())
        return [results[index] for index in sorted(results)]

    def submit(self, overrides: Sequence[str], index: int) -> None:
        """Starts a job on a free slot, whose result will lack the configurations: to send them takes longer than a short job."""
        self._start(list(overrides), index, whole=False)

    def _start(self, overrides: list[str], index: int, *, whole: bool) -> None:
        assert self._slots, "no slot is free"
        slot = self._slots.pop(0)
        self._recomposer.learn(overrides)
        ours, theirs = _FORK.Pipe(duplex=False)
        sys.stdout.flush()
        sys.stderr.flush()
        process = _FORK.Process(target=self._in_child, args=(overrides, index, slot, theirs, whole))
        process.start()
        theirs.close()
        self._jobs[index] = _Job(index=index, slot=slot, process=process, answer=ours)

    def finished(self) -> Iterable[tuple[int, JobReturn]]:
        """Waits until one job at least has ended, and gives the slots of those that have back."""
        ready = wait([job.answer for job in self._jobs.values()])
        ended = [job for job in self._jobs.values() if job.answer in ready]
        for job in ended:
            del self._jobs[job.index]
            assert self._slots is not None
            self._slots.append(job.slot)
        return [(job.index, _collect(job)) for job in ended]

    def _in_child(self, overrides: list[str], index: int, slot: Slot, answer: Connection, whole: bool) -> None:
        gc.freeze()  # nothing that the parent made is garbage here; to look for it costs a short job a quarter of its time
        if slot.gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(slot.gpus)
        try:
            result = self._run(overrides, index)
            payload = pickle.dumps(result if whole else replace(result, cfg=None, hydra_cfg=None))
        except Exception as error:  # a configuration that does not compose, or a result that cannot be sent
            payload = pickle.dumps(_failed(_sendable(error), overrides))
        answer.send_bytes(payload)
        answer.close()

    def _run(self, overrides: list[str], index: int) -> JobReturn:
        setup_globals()
        config = self._recomposer.take(overrides)
        with open_dict(config):
            config.hydra.job.id = str(index)
            config.hydra.job.num = index
        Path(str(OmegaConf.select(config, "hydra.sweep.dir"))).mkdir(parents=True, exist_ok=True)
        result = run_job(
            hydra_context=self._context,
            task_function=self._function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        if result.status is JobStatus.FAILED:
            result.return_value = _sendable(result._return_value)
        return result


def _collect(job: _Job) -> JobReturn:
    try:
        result = pickle.loads(job.answer.recv_bytes())  # noqa: S301 (written by our own child, through a pipe of ours)
    except EOFError:
        job.process.join()
        message = f"the task's process ended with exit status {job.process.exitcode} and no result"
        result = _failed(RunFailed(message, trial=job.index, attempt=0, kind="crashed"), [])
    job.process.join()
    job.answer.close()
    assert isinstance(result, JobReturn)
    return result


def _failed(error: Exception, overrides: list[str]) -> JobReturn:
    result = JobReturn(overrides=overrides, status=JobStatus.FAILED)
    result.return_value = error
    return result


def _sendable(error: Exception) -> Exception:
    """The error itself where it survives the pipe, else its sentence."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (our own)
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error

"""`hydra/launcher=local`: plain Hydra task functions, a process to a slot; and the engine launcher of a study."""

from __future__ import annotations

import contextlib
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
from omegaconf import DictConfig, OmegaConf

from harness import gpus as devices
from harness.errors import ConfigError, RunFailed
from harness.launchers.base import EngineLauncher
from harness.launchers.local import cpu_slots, gpu_slots
from harness.types import Slot
from sweeps.recompose import Recomposer

# A forked child has the task function, its closures and everything that the application registered, without pickling any of it.
_FORK = multiprocessing.get_context("fork")


def slots_for(*, slots: int | None, gpus_per_slot: int, slots_per_gpu: int, gpus: Sequence[Any] | None) -> tuple[Slot, ...]:
    """Raises ConfigError where there are too few GPUs."""
    if gpus_per_slot == 0:
        return cpu_slots(1 if slots is None else slots)
    found = devices.visible() if gpus is None else tuple(str(gpu) for gpu in gpus)
    return gpu_slots(found, gpus_per_slot, slots, slots_per_gpu=slots_per_gpu)


def engine_launcher(config: Any, **wish: Any) -> EngineLauncher:
    """Builds the `engines` of a launcher's configuration for its slots; `wish` as for `slots_for`."""
    if not isinstance(config, Mapping | DictConfig) or "_target_" not in config:
        raise ConfigError(f"hydra.launcher.engines: expected a mapping with _target_, got {config!r}")
    engines: EngineLauncher = instantiate(config, _partial_=True)(slots=slots_for(**wish))
    return engines


@dataclass(slots=True)
class _Worker:
    """A forked process that runs job after job in one slot."""

    slot: Slot
    process: ForkProcess
    line: Connection
    job: int | None = None  # the one that runs
    served: int = 0


class LocalJobs:
    """Task functions of one application, as jobs."""

    def __init__(
        self,
        hydra_context: HydraContext,
        task_function: TaskFunction,
        config: DictConfig,
        *,
        wish: Mapping[str, Any],
        jobs_per_process: int | None,
    ) -> None:
        """`wish` as for `slots_for`. `jobs_per_process` of None: one where slots have GPUs, whose memory is free then, else any number."""
        if jobs_per_process is not None and jobs_per_process < 1:
            raise ConfigError(f"hydra.launcher.jobs_per_process={jobs_per_process}: expected a number of at least 1, or null")
        self._context, self._function = hydra_context, task_function
        self._wish = dict(wish)
        self._most = 1 if jobs_per_process is None and wish["gpus_per_slot"] else jobs_per_process
        self._slots: list[Slot] | None = None  # those without a worker
        self._workers: list[_Worker] = []
        self._recomposer = Recomposer(hydra_context.config_loader, config)

    def room(self, at_most: int) -> int:
        """How many jobs can run at once, up to `at_most` where the configuration leaves it open."""
        self.close()
        if self._wish["slots"] is None and not self._wish["gpus_per_slot"]:
            self._wish["slots"] = at_most
        self._slots = list(slots_for(**self._wish))
        return len(self._slots)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Hydra's own contract: all jobs to their end, results in the order of the jobs."""
        room = self.room(len(job_overrides))
        results: dict[int, JobReturn] = {}
        try:
            for index, overrides in enumerate(job_overrides, start=initial_job_idx):
                if len(self._busy()) == room:
                    results.update(self.finished())
                self._start(list(overrides), index, whole=True)
            while self._busy():
                results.update(self.finished())
        finally:
            self.close()
        return [results[index] for index in sorted(results)]

    def submit(self, overrides: Sequence[str], index: int) -> None:
        """Starts a job on a free slot, whose result will lack the configurations: to send them takes longer than a short job."""
        self._start(list(overrides), index, whole=False)

    def finished(self) -> Iterable[tuple[int, JobReturn]]:
        """Waits until one job at least has ended, and gives the slots of those that have back."""
        busy = self._busy()
        ready = wait([worker.line for worker in busy])
        return [self._collect(worker) for worker in busy if worker.line in ready]

    def close(self) -> None:
        """Lets the processes go; they end once their job has."""
        while self._workers:
            self._dismiss(self._workers[-1])

    def _start(self, overrides: list[str], index: int, *, whole: bool) -> None:
        worker = next((worker for worker in self._workers if worker.job is None), None) or self._fork()
        worker.line.send((overrides, index, whole))
        worker.job = index

    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.job is not None]

    def _fork(self) -> _Worker:
        assert self._slots, "no slot is free"
        slot = self._slots.pop(0)
        ours, theirs = _FORK.Pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        foreign = [ours, *(worker.line for worker in self._workers)]  # held open in the child, they would never tell another of its end
        process = _FORK.Process(target=self._in_child, args=(slot, theirs, foreign))
        process.start()
        theirs.close()
        self._workers.append(_Worker(slot=slot, process=process, line=ours))
        return self._workers[-1]

    def _collect(self, worker: _Worker) -> tuple[int, JobReturn]:
        assert worker.job is not None
        index, worker.job = worker.job, None
        worker.served += 1
        try:
            result: JobReturn = pickle.loads(worker.line.recv_bytes())  # noqa: S301 (written by our own child, through a pipe of ours)
        except (EOFError, ConnectionResetError):
            self._dismiss(worker)
            message = f"the task's process ended with exit status {worker.process.exitcode} and no result"
            return index, _failed(RunFailed(message, trial=index, attempt=0, kind="crashed"), [])
        if worker.served == self._most:
            self._dismiss(worker)
        return index, result

    def _dismiss(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.line.close()
        worker.process.join()
        assert self._slots is not None
        self._slots.append(worker.slot)

    def _in_child(self, slot: Slot, line: Connection, foreign: Iterable[Connection]) -> None:
        gc.freeze()  # nothing that the parent made is garbage here; to look for it costs a short job a quarter of its time
        for other in foreign:
            other.close()
        if slot.gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(slot.gpus)
        setup_globals()
        with contextlib.suppress(EOFError, KeyboardInterrupt):  # the parent has no more jobs, or was interrupted as this process was
            while True:
                line.send_bytes(self._answer(*line.recv()))

    def _answer(self, overrides: list[str], index: int, whole: bool) -> bytes:
        try:
            job = None if whole or self._context.callbacks.callbacks else self._recomposer.job(overrides, index)
            result = self._whole_job(overrides, index) if job is None else job.run(self._function)
            if result.status is JobStatus.FAILED:
                result.return_value = _sendable(result._return_value)
            return pickle.dumps(result if whole else replace(result, cfg=None, hydra_cfg=None))
        except Exception as error:  # a configuration that does not compose, or a result that cannot be sent
            return pickle.dumps(_failed(_sendable(error), overrides))

    def _whole_job(self, overrides: list[str], index: int) -> JobReturn:
        config = self._recomposer.compose(overrides, index)
        Path(str(OmegaConf.select(config, "hydra.sweep.dir"))).mkdir(parents=True, exist_ok=True)
        return run_job(
            hydra_context=self._context,
            task_function=self._function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )


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

"""Real verl for the attempts of one engine: its processes are started once, and every attempt is trained on them by a new trainer.

Imports torch, ray and verl: seconds. Uses verl's `run_ppo` and its trainer's hooks, and changes nothing of verl.
"""

from __future__ import annotations

import gc
import itertools
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import ray
import transfer_queue
import wandb
from omegaconf import DictConfig, OmegaConf
from verl.trainer.constants_ppo import get_ppo_ray_runtime_env
from verl.trainer.main_ppo import run_ppo
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.trainer.ppo.v1 import AgentLoopManagerTQ
from verl.utils.config import validate_config
from verl.utils.device import auto_set_device
from verl.utils.import_utils import load_class_from_fqn
from verl.utils.logging_utils import configure_verl_logging

from harness import identity, records
from harness.engine import AttemptDesk, EngineDesk
from harness.failures import diagnose
from harness.inside.nursery import Nursery
from harness.inside.seeding import SeededAgentLoops
from harness.inside.trainer import AttemptTrainer, Boot, Stopped, Untrusted
from harness.inside.upkeep import Footprint, fault, footprint
from harness.inside.workers import seed_process
from harness.paths import StudyPaths
from harness.types import AttemptResult, Failure, GuardRecord, Reason, RunState, StudyRecord, TrialSpec

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_RAISED = re.compile(r"^[\w.]*(?:Error|Exception)\b.*", re.MULTILINE)  # how a traceback ends


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How an attempt ended."""

    state: RunState
    reason: Reason
    message: str
    failure: Failure | None = None  # as far as the exception alone tells: the controller reads the whole log

    @property
    def exit_code(self) -> int:
        return 1 if self.state is RunState.FAILED else 0


def run(desk: EngineDesk, first: AttemptDesk, others: Iterator[AttemptDesk], nursery: Nursery | None) -> int:
    """Serves attempts until none is left or one fails; the process's exit status."""
    runner = Runner(desk, first, others)
    try:
        config = composed(first)
        if nursery is not None:
            config.ray_kwargs.ray_init.runtime_env.py_executable = nursery.command
        run_ppo(config, task_runner_class=in_process(runner.run))
    except Exception as error:
        traceback.print_exc()
        if not first.paths.result.exists():  # nothing was trained: the start itself failed
            conclude(first, failure(error), steps=0)
        return 1
    finally:
        leave()
    return runner.status


class Runner:
    """verl's task runner: everything behind `ray.init`."""

    def __init__(self, desk: EngineDesk, first: AttemptDesk, others: Iterator[AttemptDesk]) -> None:
        self.desk = desk
        self.first = first
        self.others = others
        self.status = 0
        self._trained = 0  # attempts
        self._footprint: Footprint | None = None  # after the first attempt

    def run(self, config: DictConfig) -> None:
        self.first.event("ray")
        configure_verl_logging()
        transfer_queue.init(config.transfer_queue)
        self.first.event("queue")
        seed_process(config.data.get("seed"))
        boot = Boot(config, self.first)
        boot.init()
        loops = agent_loops(boot)
        self.first.event("agent_loops")
        if not self.first.trains:
            if isinstance(loops, SeededAgentLoops):
                loops.retarget(boot.config)  # waits for workers that still start
            self.first.ready()
        for attempt in itertools.chain([self.first] if self.first.trains else [], self.others):
            self.status = self.serve(boot, loops, attempt)
            if self.status:
                return

    def serve(self, boot: Boot, loops: AgentLoopManagerTQ, attempt: AttemptDesk) -> int:
        """Trains one attempt and concludes it; 1 where the engine is not to be used again because of it."""
        began = time.monotonic()
        trainer: AttemptTrainer | None = None
        try:
            os.environ.update(attempt.spec.environment)
            config = composed(attempt)
            seed_process(config.data.get("seed"))
            configured_s = time.monotonic() - began
            trainer = AttemptTrainer(config, attempt, boot, slot=self.desk.spec.slot, served=self._trained)
            trainer.phases["config"] = round(configured_s, 3)
            ending = self._train(trainer, loops)
        except Exception as error:
            traceback.print_exc()
            ending = failure(error, steps=trainer.logged_steps if trainer is not None else 0)
        attempt.event("trained")
        self._trained += 1
        if trainer is not None:
            finish_tracking(trainer, ending)
        self._settle(boot, loops, trainer, ending)
        conclude(attempt, ending, steps=trainer.logged_steps if trainer is not None else 0)
        return ending.exit_code

    def _train(self, trainer: AttemptTrainer, loops: AgentLoopManagerTQ) -> Ending:
        try:
            trainer.init()
            if isinstance(loops, SeededAgentLoops):  # others serve one attempt, for which they were made
                loops.retarget(trainer.config)
            trainer.mark("agent_loops")
            if any((transfer_queue.kv_list() or {}).values()):
                raise Untrusted("the queue holds entries of an earlier attempt")
            trainer.desk.event("handed_over", served=trainer.served, phases=trainer.phases)
            trainer.fit(loops)
        except Stopped as stopped:
            return Ending(state=RunState.STOPPED, reason=stopped.request.reason, message=stopped.request.message)
        except Untrusted as fault:
            return Ending(state=RunState.FAILED, reason=Reason.UNTRUSTED, message=str(fault))
        if trainer.stop is not None:
            return Ending(state=RunState.STOPPED, reason=trainer.stop.reason, message=trainer.stop.message)
        return Ending(state=RunState.SUCCEEDED, reason=Reason.FINISHED, message=f"trained {trainer.logged_steps} steps")

    def _settle(self, boot: Boot, loops: AgentLoopManagerTQ, trainer: AttemptTrainer | None, ending: Ending) -> None:
        """Leaves the engine as it was before the attempt, or closes it where that is not sure."""
        if self.desk.served >= self.desk.spec.serves:
            return
        if trainer is None or ending.state is RunState.FAILED:
            self._close(f"an attempt ended as {ending.reason}")
            return
        began = time.monotonic()
        try:
            given_up = 0
            if ending.state is RunState.STOPPED:
                boot.checkpoint_manager.abort_replicas()
                given_up = loops.drain()
                boot.checkpoint_manager.resume_generation_replicas()
            left = trainer.let_go()
            del trainer
            gc.collect()
            now = footprint(self.desk.spec.engine)
        except Exception as error:  # whatever it is, this engine is not what it was
            traceback.print_exc()
            self._close(failure(error).message)
            return
        self._footprint = self._footprint or now
        seconds = round(time.monotonic() - began, 3)
        self.desk.event("settled", seconds=seconds, given_up=given_up, left=left, processes=now.processes, memory_mib=now.memory_mib)
        problem = fault(self._footprint, now, growth=self.desk.spec.growth)
        if problem is not None:
            self._close(problem)

    def _close(self, why: str) -> None:
        self.desk.event("closed", why=why)
        self.desk.close()


def in_process(run: Callable[[DictConfig], None]) -> Any:
    """What `run_ppo` takes for a Ray actor class, running here: an actor would be one more process that imports torch and verl."""

    def call(config: DictConfig) -> ray.ObjectRef:
        run(config)
        return ray.put(None)

    return SimpleNamespace(remote=lambda: SimpleNamespace(run=SimpleNamespace(remote=call)))


def composed(attempt: AttemptDesk) -> DictConfig:
    """The attempt's configuration as verl's own entry point would hold it; raises where verl refuses it."""
    config = OmegaConf.create(attempt.spec.config)
    auto_set_device(config)
    validate_config(config=config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config))
    config.transfer_queue.enable = True
    # verl sets these for its actors only, and one of those is this process.
    for name, value in get_ppo_ray_runtime_env(config)["env_vars"].items():
        os.environ.setdefault(name, value)
    return config


def agent_loops(boot: Boot) -> AgentLoopManagerTQ:
    """verl's agent loops, or those that the configuration names."""
    name = boot.config.actor_rollout_ref.rollout.agent.get("agent_loop_manager_class")
    kind = load_class_from_fqn(name, "AgentLoopManager") if name else AgentLoopManagerTQ
    return kind.create(
        config=boot.config,
        llm_client=boot.get_llm_client(),
        teacher_client=boot.get_teacher_client(),
        reward_loop_worker_handles=boot.get_reward_handles(),
    )


def finish_tracking(trainer: AttemptTrainer, ending: Ending) -> None:
    """Closes the W&B run with how it ended as tag and summary, and verl's other loggers."""
    tracking = getattr(trainer, "logger", None)
    if tracking is None:
        return
    closes = "wandb" in tracking.logger and wandb.run is not None
    if closes:
        describe_run(wandb.run, trainer.desk, ending)
    tracking.finish(exit_code=ending.exit_code)
    if closes:
        trainer.desk.event("run_closed")  # one without it lacks rows: harness.trackers.offline_runs
    wandb.teardown()  # it reads its environment once in its life, and the next attempt's is another


def describe_run(run: wandb.Run, attempt: AttemptDesk, ending: Ending) -> None:
    """Tags, flat configuration beside verl's own, and how it ended."""
    codes, state = guard_codes(attempt), identity.state_of(ending.state, ending.reason)
    tags = (*(run.tags or ()), *identity.ending_tags(state, ending.reason, codes))
    trial = records.read_if_there(attempt.paths.trial.spec, TrialSpec)
    if trial is not None:
        study = records.read_if_there(StudyPaths(attempt.paths.trial.root.parent).record, StudyRecord)
        tags = (*identity.tags(trial, attempt.spec.config), *tags)
        run.config.update(identity.configuration(trial, study.objectives if study else ()))
    run.tags = identity.unique(tags)
    run.summary.update(identity.summary(state, ending.reason, ending.message, None))
    run.summary.update({"harness/guards": ", ".join(codes)} if codes else {})
    if ending.failure is not None:
        site = {"harness/oom_site": ending.failure.part.value} if ending.failure.part else {}
        run.summary.update({"harness/failure": ending.failure.kind.value, **site})


def guard_codes(attempt: AttemptDesk) -> tuple[str, ...]:
    """Of the guards that fired in this attempt, whether they end it or only mark it."""
    record = records.read_if_there(attempt.paths.guard, GuardRecord)
    return tuple(verdict.code for verdict in record.verdicts) if record is not None else ()


def conclude(attempt: AttemptDesk, ending: Ending, *, steps: int) -> None:
    attempt.conclude(ending.state, ending.reason, ending.message, steps=steps)


def failure(error: BaseException, *, steps: int = 0) -> Ending:
    """One sentence of an exception; of the original one where Ray carried it, or its traceback, from another process."""
    origin = getattr(error, "cause", None) or error
    text = _COLOURS.sub("", str(origin))
    raised = _RAISED.findall(text) if "Traceback" in text or isinstance(origin, ray.exceptions.RayError) else []
    sentence = " ".join((raised[-1] if raised else f"{type(origin).__name__}: {text}").split())[:500]
    said = AttemptResult(state=RunState.FAILED, reason=Reason.CRASHED, message=sentence, ended_at=time.time(), steps=steps)
    told = diagnose(said, "".join(traceback.format_exception(error)))
    return Ending(state=said.state, reason=said.reason, message=sentence, failure=told)


def leave() -> None:
    """Ends what this process started: wandb's service, Ray's processes."""
    wandb.teardown()
    ray.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()

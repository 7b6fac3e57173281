"""Real verl for the attempts of one engine: `boot` starts its processes, `serve` trains one attempt on them and says how it ended.

Imports torch, ray and verl: seconds. Uses verl's `run_ppo` and its trainer's hooks, and changes nothing of verl.
"""

from __future__ import annotations

import os
import random
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import ray
import torch
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

from harness.engine import AttemptDesk
from harness.inside.nursery import Nursery
from harness.inside.trainer import AttemptTrainer, Stopped
from harness.types import Reason, RunState

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_RAISED = re.compile(r"^[\w.]*(?:Error|Exception)\b.*", re.MULTILINE)  # how a traceback ends


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How an attempt ended."""

    state: RunState
    reason: Reason
    message: str

    @property
    def exit_code(self) -> int:
        return 1 if self.state is RunState.FAILED else 0


def run(first: AttemptDesk, others: Iterator[AttemptDesk], nursery: Nursery | None) -> int:
    """Serves attempts until none is left or one fails; the process's exit status."""
    runner = Runner(first, others)
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

    def __init__(self, first: AttemptDesk, others: Iterator[AttemptDesk]) -> None:
        self.first = first
        self.others = others
        self.status = 0

    def run(self, config: DictConfig) -> None:
        self.first.event("ray")
        configure_verl_logging()
        transfer_queue.init(config.transfer_queue)
        self.first.event("queue")
        self.status = self.serve(self.first, config)
        for attempt in self.others if self.status == 0 else ():
            raise NotImplementedError(f"an engine serves one attempt, and {attempt.paths.root} was handed over after another")

    def serve(self, attempt: AttemptDesk, config: DictConfig) -> int:
        """Trains one attempt and concludes it."""
        seed_process(config.data.seed)
        trainer = AttemptTrainer(config, attempt)
        ending = self._train(trainer)
        finish_tracking(trainer, ending)
        conclude(attempt, ending, steps=trainer.logged_steps)
        return ending.exit_code

    def _train(self, trainer: AttemptTrainer) -> Ending:
        try:
            trainer.init()
            trainer.fit(agent_loops(trainer))
        except Stopped as stopped:
            trainer.checkpoint_manager.abort_replicas()
            return Ending(state=RunState.STOPPED, reason=stopped.request.reason, message=stopped.request.message)
        except Exception as error:
            traceback.print_exc()
            return failure(error)
        if trainer.stop is not None:
            return Ending(state=RunState.STOPPED, reason=trainer.stop.reason, message=trainer.stop.message)
        return Ending(state=RunState.SUCCEEDED, reason=Reason.FINISHED, message=f"trained {trainer.logged_steps} steps")


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


def agent_loops(trainer: AttemptTrainer) -> AgentLoopManagerTQ:
    """verl's agent loops, or those that the configuration names."""
    name = trainer.config.actor_rollout_ref.rollout.agent.get("agent_loop_manager_class")
    kind = load_class_from_fqn(name, "AgentLoopManager") if name else AgentLoopManagerTQ
    loops = kind.create(
        config=trainer.config,
        llm_client=trainer.get_llm_client(),
        teacher_client=trainer.get_teacher_client(),
        reward_loop_worker_handles=trainer.get_reward_handles(),
    )
    trainer.desk.event("agent_loops")
    return loops


def finish_tracking(trainer: AttemptTrainer, ending: Ending) -> None:
    """Closes the W&B run with how it ended as tag and summary, and verl's other loggers."""
    tracking = getattr(trainer, "logger", None)
    if tracking is None:
        return
    if "wandb" in tracking.logger and wandb.run is not None:
        wandb.run.tags = (*(wandb.run.tags or ()), ending.reason.value)
        wandb.run.summary.update({"harness/state": ending.state.value, "harness/reason": ending.reason.value})
    tracking.finish(exit_code=ending.exit_code)


def conclude(attempt: AttemptDesk, ending: Ending, *, steps: int) -> None:
    attempt.conclude(ending.state, ending.reason, ending.message, steps=steps)


def failure(error: BaseException) -> Ending:
    """One sentence of an exception; of the original one where Ray carried it, or its traceback, from another process."""
    origin = getattr(error, "cause", None) or error
    text = _COLOURS.sub("", str(origin))
    raised = _RAISED.findall(text) if "Traceback" in text or isinstance(origin, ray.exceptions.RayError) else []
    sentence = raised[-1] if raised else f"{type(origin).__name__}: {text}"
    return Ending(state=RunState.FAILED, reason=Reason.CRASHED, message=" ".join(sentence.split())[:500])


def seed_process(seed: int | None) -> None:
    if seed is None:
        return
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def leave() -> None:
    """Ends what this process started: wandb's service, Ray's processes."""
    wandb.teardown()
    ray.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()

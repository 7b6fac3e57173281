"""Gives every generation request a seed of its own, so that the same trial samples the same answers whatever the timing.

Set as `actor_rollout_ref.rollout.agent.agent_loop_manager_class`. verl's own `full_determinism` would give all n samples of a prompt
one seed, and so one answer.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import ray
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopManagerTQ, AgentLoopWorkerTQ
from verl.utils.config import omega_conf_to_dataclass


def request_seed(*, data_seed: int | None, step: int, sample: int, session: int, validate: bool) -> int:
    """A number in [0, 2^31) that names one request of a training."""
    name = repr((data_seed, step, sample, session, validate)).encode()
    return int.from_bytes(hashlib.sha256(name).digest()[:4], "big") >> 1


# Ray keeps the class that it made an actor of; verl exports the actor only.
class SeededAgentLoop(AgentLoopWorkerTQ.__ray_metadata__.modified_class):
    """Runs the agent loops of a share of the prompts."""

    async def _run_agent_loop(self, sampling_params: dict[str, Any], trajectory: dict[str, Any], **kwargs: Any) -> Any:
        seed = request_seed(
            data_seed=self.config.data.seed,
            step=int(trajectory["step"]),
            sample=int(trajectory["sample_index"]),
            session=int(kwargs["session_id"]),
            validate=bool(trajectory["validate"]),
        )
        return await super()._run_agent_loop({**sampling_params, "seed": seed}, trajectory, **kwargs)

    async def alive(self) -> None:
        return None

    async def retarget(self, config: Any) -> None:
        self.config = config
        self.rollout_config = omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
        self.llm_client.config = config

    async def drain(self) -> int:
        """Gives up what is still being answered."""
        tasks = list(self.background_tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return len(tasks)


class SeededAgentLoops(AgentLoopManagerTQ):
    """verl's manager with our workers; says when one of them died, which verl itself waits out for ever."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.agent_loop_workers_class = ray.remote(SeededAgentLoop)
        self._calls: list[Any] = []

    def retarget(self, config: Any) -> None:
        """The next attempt's configuration for every worker; waits for workers that still start."""
        self.config, self.rollout_config = config, config.actor_rollout_ref.rollout
        ray.get([worker.retarget.remote(config) for worker in self.agent_loop_workers])

    def drain(self) -> int:
        """How many prompts were given up. Comes before the queue is cleared: a loop that still runs would fill it again."""
        return sum(ray.get([worker.drain.remote() for worker in self.agent_loop_workers]))

    def check(self) -> None:
        """Raises ray's ActorDiedError where a worker is dead; does not wait."""
        answered, self._calls = ray.wait(self._calls, num_returns=len(self._calls), timeout=0) if self._calls else ([], [])
        ray.get(answered)
        if not self._calls:
            self._calls = [worker.alive.remote() for worker in self.agent_loop_workers]

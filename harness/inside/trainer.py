"""verl's synchronous trainer for one attempt: tells its phases, and stops where the attempt's folder asks for it.

The configuration keeps `trainer_mode: sync`: verl treats a mode of any other name as an asynchronous one.
"""

from __future__ import annotations

from typing import Any

from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

from harness.engine import AttemptDesk
from harness.inside.replay import OrderedReplayBuffer
from harness.types import StopRequest


class Stopped(Exception):  # a decision, not an error
    """The attempt was asked to stop while it waited for answers; the step under way is given up."""

    def __init__(self, request: StopRequest) -> None:
        super().__init__(request.message)
        self.request = request


class AttemptTrainer(PPOTrainerSync):
    """A new object for every attempt."""

    def __init__(self, config: Any, desk: AttemptDesk) -> None:
        super().__init__(config)
        self.desk = desk
        self.stop: StopRequest | None = None
        self.global_steps = 0  # verl sets it when it looks for a checkpoint
        self._trains = False
        if isinstance(self.replay_buffer, OrderedReplayBuffer):
            self.replay_buffer.while_waiting = self._while_waiting

    @property
    def logged_steps(self) -> int:
        return max(0, self.global_steps - 1)

    def _init_resource_pool_mgr(self) -> None:
        self.desk.event("data")
        super()._init_resource_pool_mgr()

    def _load_checkpoint(self) -> Any:
        self.desk.event("workers")
        return super()._load_checkpoint()

    def on_init_end(self) -> None:
        super().on_init_end()
        self.desk.event("rollout", step=self.global_steps)

    def on_validate_end(self) -> None:
        super().on_validate_end()
        if not self._trains:
            self.desk.event("validated", step=self.global_steps)

    def on_step_begin(self) -> None:
        if not self._trains:
            self._trains = True
            self.desk.event("training", step=self.global_steps)
        super().on_step_begin()

    def on_step_end(self) -> None:
        super().on_step_end()
        if self.global_steps < self.total_training_steps:
            self.stop = self.desk.stop_request()
        if self.stop is not None:
            self.total_training_steps: int = self.global_steps  # verl logs this step, then leaves its loop

    def _while_waiting(self) -> None:
        if self.stop is None and (request := self.desk.stop_request()) is not None:
            raise Stopped(request)
        check = getattr(getattr(self, "agent_loop_manager", None), "check", None)
        if check is not None:
            check()

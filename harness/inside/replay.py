"""verl's replay buffer, looked into every 50 ms, with its rows in the order of submission; can be called back while it waits.

Set as `trainer.v1.sampler.custom_sampler` with a `pkg://` path: by a file's path verl would load a second copy of this module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

POLL_S = 0.05  # verl's own 2 s would be most of a small model's step


class OrderedReplayBuffer(ReplayBuffer):
    """Rows in order make a step's sums, and so the training, the same each time."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs, poll_interval=POLL_S)
        self.while_waiting: Callable[[], None] = lambda: None  # may raise, which ends the wait

    def _wait_for_next_poll(self, partition_id: str, last_debug_time: float) -> float:
        self.while_waiting()
        return super()._wait_for_next_poll(partition_id, last_debug_time)

    def _materialize_batch(self, partition_id: str, selected_prompt_uids: list[str], partition_snapshot: dict[str, Any]) -> Any:
        submitted = {uid: place for place, uid in enumerate(self.prompt_global_steps[partition_id])}

        def place(key: str) -> tuple[int, int, int]:
            uid, session, index = key.rsplit("_", 2)
            return submitted.get(uid, len(submitted)), int(session), int(index)

        ordered = {key: partition_snapshot[key] for key in sorted(partition_snapshot, key=place)}
        return super()._materialize_batch(partition_id, selected_prompt_uids, ordered)

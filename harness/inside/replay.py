"""verl's replay buffer, looked into every 50 ms, with its rows in the order of submission; can be called back while it waits.

Set as `trainer.v1.sampler.custom_sampler` with a `pkg://` path: by a file's path verl would load a second copy of this module.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

POLL_S = 0.05  # verl's own 2 s would be most of a small model's step

Evictions = tuple[set[str], set[str], set[str], Counter[float]]  # prompts: stale, without a signal, failed; and the signals


class OrderedReplayBuffer(ReplayBuffer):
    """Rows in order make a step's sums, and so the training, the same each time.

    So do rounds, where groups without a signal are replaced (DAPO): verl judges each group when it is there and sends a new prompt at once,
    so that which prompts fill the batch follows from the moment. Here a round is judged when all of it has been answered, and the batch is
    the first of what passed, in the order of submission.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs, poll_interval=POLL_S)
        self.while_waiting: Callable[[], None] = lambda: None  # may raise, which ends the wait

    def refill(self, *, metric: str | None, failed: bool, batch_size: int, most_in_flight: int) -> None:
        """What verl tells its own buffer and no other: replaces groups whose answers share a value of the metric, and `failed` ones."""
        self.filter_groups_metric, self.sync_refill_failed_groups = metric, failed
        self.train_batch_size, self.max_inflight_gen_batches = batch_size, most_in_flight
        self.gen_batch_size = 1  # as the trainer then loads its data
        self._validate_mode_config()

    def _wait_for_next_poll(self, partition_id: str, last_debug_time: float) -> float:
        self.while_waiting()
        return super()._wait_for_next_poll(partition_id, last_debug_time)

    def _in_rounds(self, partition_id: str) -> bool:
        return partition_id != "val" and (self.filter_groups_metric is not None or self.sync_refill_failed_groups)

    def _round_goes_on(self, partition_id: str) -> bool:
        return self._in_rounds(partition_id) and bool(self.pending_keys[partition_id] or self.running_keys[partition_id])

    def _terminal_eviction_reasons(self, global_steps: int, partition_id: str) -> Evictions:
        if self._round_goes_on(partition_id):
            return set(), set(), set(), Counter()
        return super()._terminal_eviction_reasons(global_steps, partition_id)

    def _sampleable_terminal_keys(self, partition_id: str, eviction_reasons: Evictions) -> set[str]:
        if self._round_goes_on(partition_id):
            return set()
        return super()._sampleable_terminal_keys(partition_id, eviction_reasons)

    def _select_prompt_uids(self, partition_id: str, sampleable_keys: set[str], batch_size: int) -> tuple[list[str], Any, Any]:
        _, partition, steps = super()._select_prompt_uids(partition_id, sampleable_keys, batch_size)
        in_order = [uid for uid in steps if uid in sampleable_keys]
        return in_order[:batch_size], partition, steps

    def _materialize_batch(self, partition_id: str, selected_prompt_uids: list[str], partition_snapshot: dict[str, Any]) -> Any:
        submitted = {uid: place for place, uid in enumerate(self.prompt_global_steps[partition_id])}

        def place(key: str) -> tuple[int, int, int]:
            uid, session, index = key.rsplit("_", 2)
            return submitted.get(uid, len(submitted)), int(session), int(index)

        ordered = {key: partition_snapshot[key] for key in sorted(partition_snapshot, key=place)}
        return super()._materialize_batch(partition_id, selected_prompt_uids, ordered)

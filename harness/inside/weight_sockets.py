"""Keeps the weights of vLLM's rollouts apart: each engine hands them over by a socket in its own temporary folder.

verl 0.9.1 names that socket /tmp/rl-colocate-zmq-<Ray job>-replica-<r>-rank-<l>.sock (verl/workers/rollout/vllm_rollout). Each engine has
a Ray of its own, whose first and only job has the same number in all of them: two engines on a host would bind the same path, and whoever
binds it last sends the other's rollout its weights. Seen on H200s with several engines at once: a rollout trained on another trial's
answers, a hand-over that waited for 206 s, one that failed.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

SCHEME = "ipc://"


def in_own_folder(handle: str) -> str:
    """The same socket in TMPDIR, which an engine's processes share and nobody else has; it goes with the engine."""
    return f"{SCHEME}{Path(tempfile.gettempdir()) / Path(handle.removeprefix(SCHEME)).name}"


def register() -> None:
    """From now on verl builds its vLLM rollout from the classes of `harness.inside.vllm_rollout`, which need vLLM."""
    from verl.workers.rollout.base import _ROLLOUT_REGISTRY
    from verl.workers.rollout.replica import RolloutReplicaRegistry

    RolloutReplicaRegistry.register("vllm", _replica)
    # verl has a registry of these adapters, but no public way into it.
    _ROLLOUT_REGISTRY[("vllm", "async")] = "harness.inside.vllm_rollout.Adapter"


def _replica() -> Any:
    from harness.inside.vllm_rollout import Replica

    return Replica

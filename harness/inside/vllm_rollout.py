"""verl's vLLM rollout with its weights handed over in the engine's own folder; both ends of the socket have to know (`weight_sockets`)."""

from __future__ import annotations

from typing import Any

import ray
from verl.workers.rollout.vllm_rollout import ServerAdapter
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension
from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer, vLLMReplica

from harness.inside.weight_sockets import in_own_folder


class Adapter(ServerAdapter):
    """The trainer's end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        disaggregation = getattr(self.config, "disaggregation", None)
        if not (disaggregation and disaggregation.enabled):  # whose servers are verl's own
            self.zmq_handle: str = in_own_folder(self.zmq_handle)


class WorkerExtension(vLLMColocateWorkerExtension):
    """The rollout's end, in vLLM's own processes."""

    def _get_zmq_handle(self) -> str:
        return in_own_folder(super()._get_zmq_handle())


class Server(vLLMHttpServer):
    def _get_worker_extension_cls(self) -> str:
        return f"{WorkerExtension.__module__}.{WorkerExtension.__qualname__}"


class Replica(vLLMReplica):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.server_class = ray.remote(Server)

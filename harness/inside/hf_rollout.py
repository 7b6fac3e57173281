"""The rollout `hf`: verl's generation server over batched Hugging Face decoding on the host, in one asynchronous Ray actor.

Text only, one rank a replica. It refuses a weight sync of which a tensor is missing.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
import torch
from verl.workers.rollout.base import BaseRollout
from verl.workers.rollout.replica import RolloutReplica, TokenOutput

from harness.inside.decoding import Answer, Decoder, Request, Sampling, Source

Bucket = dict[str, np.ndarray]  # tensor name -> its bytes in the server's dtype


@dataclass(frozen=True, slots=True)
class Waiting:
    request: Request
    answer: asyncio.Future[Answer]


class HfServer:
    """Decodes as one batch all requests that arrived before a quiet moment, in an order that does not depend on their arrival."""

    def __init__(self, source: Source, config: Any, *, rank: int, quiet_s: float) -> None:
        self.config = config
        self.quiet_s = quiet_s
        self.decoder = Decoder(source, dtype=getattr(torch, config.dtype))
        self.seeds = torch.Generator().manual_seed(config.seed + rank)  # for requests without one
        self.version: int | None = None  # training steps that the weights have seen
        self._queue: list[Waiting] = []
        self._arrived_at = 0.0
        self._serving: asyncio.Task[None] | None = None
        self._model = asyncio.Lock()
        self._open = asyncio.Event()
        self._open.set()
        self._rejects = False
        self._abort = threading.Event()

    async def generate(self, prompt_ids: list[int], sampling_params: dict[str, Any], **_: Any) -> TokenOutput:
        if not self._open.is_set() and self._rejects:
            raise RuntimeError("rollout hf: generation is stopped, and no request is taken")
        await self._open.wait()
        waiting = Waiting(self._request(prompt_ids, sampling_params), asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._arrived_at = time.monotonic()
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve())
        answer = await waiting.answer
        return TokenOutput(
            token_ids=answer.tokens,
            log_probs=answer.log_probs,
            stop_reason=answer.stop,
            extra_fields={"global_steps": self.version},
        )

    async def receive(self, bucket: Bucket) -> None:
        async with self._model:
            await asyncio.to_thread(self._load, bucket)

    async def close_sync(self, version: int | None) -> None:
        """Raises ValueError where a tensor was not delivered."""
        self.decoder.close_sync()
        self.version = version

    async def abort_all_requests(self, reject_request: bool = False) -> int:
        """Answers what is queued with nothing, cuts short what is being decoded; the number of those that were queued."""
        self._rejects = reject_request
        self._open.clear()
        queued, self._queue = self._queue, []
        for waiting in queued:
            if not waiting.answer.done():
                waiting.answer.set_result(Answer([], []))
        self._abort.set()
        async with self._model:  # once it is free, nothing decodes any more
            self._abort.clear()
        return len(queued)

    async def resume_generation(self) -> None:
        self._open.set()

    async def pending(self) -> int:
        return len(self._queue)

    async def nothing(self, *_: Any, **__: Any) -> None:
        """The host's memory is not given back between steps."""

    sleep = wake_up = clear_kv_cache = release_kv_cache = resume_kv_cache = start_profile = stop_profile = nothing

    async def _serve(self) -> None:
        while self._queue:
            while (quiet := time.monotonic() - self._arrived_at) < self.quiet_s:
                await asyncio.sleep(self.quiet_s - quiet)
            async with self._model:
                await self._answer(self._take())

    def _take(self) -> list[Waiting]:
        """The next batch, out of the queue: equal sampling, by seed and prompt."""
        if not self._queue:
            return []
        sampling = self._queue[0].request.sampling
        alike = sorted((w for w in self._queue if w.request.sampling == sampling), key=lambda w: (w.request.seed, w.request.prompt))
        batch = alike[: self.config.max_num_seqs]
        taken = {id(waiting) for waiting in batch}
        self._queue = [waiting for waiting in self._queue if id(waiting) not in taken]
        return batch

    async def _answer(self, batch: list[Waiting]) -> None:
        batch = [waiting for waiting in batch if not waiting.answer.done()]
        if not batch:
            return
        try:
            requests = [waiting.request for waiting in batch]
            answers = await asyncio.to_thread(self.decoder.decode, requests, aborted=self._abort.is_set)
        except Exception as error:
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
            return
        for waiting, answer in zip(batch, answers, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(answer)

    def _request(self, prompt: list[int], params: dict[str, Any]) -> Request:
        asked = params.get("max_tokens") or params.get("max_new_tokens") or self.config.response_length
        room = self.config.prompt_length + self.config.response_length - len(prompt)
        seed = params.get("seed")
        return Request(
            prompt=tuple(prompt),
            limit=min(asked, room),
            seed=int(torch.randint(2**31, (), generator=self.seeds)) if seed is None else int(seed),
            sampling=Sampling(
                temperature=float(params.get("temperature", 1.0)),
                top_k=int(params.get("top_k", -1)),
                top_p=float(params.get("top_p", 1.0)),
            ),
        )

    def _load(self, bucket: Bucket) -> None:
        dtype = self.decoder.dtype
        # Ray's arrays are read-only, and torch warns of those.
        self.decoder.load({name: torch.from_numpy(data.copy()).view(dtype).view(self.decoder.shape(name)) for name, data in bucket.items()})


class HfReplica(RolloutReplica):
    """Starts the server's actor."""

    async def launch_servers(self) -> None:
        if self.world_size != 1:
            raise ValueError(f"rollout hf: one rank a replica, got tensor x data x pipeline parallel = {self.world_size}")
        options = self.config.engine_kwargs["hf"]
        actor = ray.remote(HfServer).options(name=_name(self.replica_rank), num_cpus=0, max_concurrency=self.max_concurrency)
        server = actor.remote(_source(self.model_config), self.config, rank=self.replica_rank, quiet_s=options["quiet_s"])
        await server.pending.remote()
        self.servers, self._server_handle, self._server_address = [server], server, _name(self.replica_rank)


class HfAdapter(BaseRollout):
    """Lives in the training worker and hands the actor's weights to the server."""

    async def resume(self, tags: list[str]) -> None:  # noqa: ARG002 (the interface's)
        return None

    async def release(self) -> None:
        return None

    @torch.no_grad()
    async def update_weights(self, weights: Iterable[tuple[str, torch.Tensor]], global_steps: int | None = None, **_: Any) -> None:
        server = ray.get_actor(_name(int(os.environ["RANK"])))
        dtype = getattr(torch, self.config.dtype)
        limit = self.config.checkpoint_engine.update_weights_bucket_megabytes << 20
        bucket: Bucket = {}
        size = 0
        for name, tensor in weights:
            bucket[name] = tensor.to("cpu", dtype).contiguous().view(-1).view(torch.uint8).numpy()
            size += bucket[name].nbytes
            if size >= limit:
                await server.receive.remote(bucket)
                bucket, size = {}, 0
        await server.receive.remote(bucket)
        await server.close_sync.remote(global_steps)


def _source(model: Any) -> Source:
    """Of `actor_rollout_ref.model`: the same model, tokenizer and attention as the actor's."""
    return Source(
        model=model.path,
        tokenizer=model.tokenizer_path or model.path,
        attention=model.override_config.get("attn_implementation", "flash_attention_2"),  # verl's default, where nothing is said
        remote_code=model.trust_remote_code,
    )


def _name(rank: int) -> str:
    return f"hf_server_{rank}"

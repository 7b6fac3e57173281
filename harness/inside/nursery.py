"""A process that imported what verl is made of once, and whose forks are Ray's workers: a worker starts in a second rather than ten.

verl starts eight processes that import torch, transformers and their like each, one waiting for the other: most of a start on two cores.
Ray's own `runtime_env.py_executable` names the command that starts a worker; ours hands the worker's arguments to the nursery and ends.

Opened before this process has threads, or an accelerator in use: neither survives a fork. Ray is not imported before it either: it reads
a worker's environment when it is imported. A nursery ends with the process that opened it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import runpy
import select
import shlex
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

# Everything big below verl and Ray: 8 of the 9 seconds that a worker's imports take. Those that are not installed are not needed.
MODULES = (
    "torch",
    "torch._dynamo",
    "torch.distributed.checkpoint",
    "torch.distributed.fsdp",
    "tensordict",
    "transformers.generation.utils",
    "transformers.models.llama.modeling_llama",
    "pandas",
    "datasets",
    "scipy.optimize",
    "accelerate",
    "peft",
    "torchdata.stateful_dataloader",
    "omegaconf",
    "hydra",
    "fastapi",
    "uvicorn",
    "aiohttp",
    "zmq",
    "wandb",
)
# None of these starts CUDA when it is imported; `PYTORCH_NVML_BASED_CUDA_CHECK` keeps torch from starting it to look whether it is there.
GPU_MODULES = ("triton", "vllm", "vllm.v1.engine.async_llm", "vllm.entrypoints.openai.api_server")


class Nursery:
    """Forks of this process as it is once the modules are imported, on request."""

    def __init__(self, folder: Path, modules: Sequence[str] = MODULES) -> None:
        for module in modules:
            with contextlib.suppress(ModuleNotFoundError):
                importlib.import_module(module)
        assert "ray" not in sys.modules
        self.address = Path(tempfile.mkdtemp(prefix="n", dir=folder)) / "s"  # a socket's path is short
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self.address))
        listener.listen(64)
        theirs, self._lifeline = os.pipe()  # closed by the end of this process, whatever ends it
        if os.fork() == 0:
            os.close(self._lifeline)
            _serve(listener, theirs)
        listener.close()
        os.close(theirs)

    @property
    def command(self) -> str:
        """For Ray's `runtime_env.py_executable`; the arguments of a worker follow it."""
        # -I -S: the nursery has imported everything, so this process imports next to nothing.
        return shlex.join([sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(self.address)])


def ask(address: str, arguments: list[str]) -> None:
    """Has the nursery start a worker with this process's environment, folder and output."""
    wish = {"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}  # noqa: PTH109 (pathlib is an import)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(address)
        socket.send_fds(connection, [b"1"], [1, 2])
        connection.sendall(json.dumps(wish).encode())


def _serve(listener: socket.socket, lifeline: int) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system reaps the workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that opened the nursery
    while True:
        ready, _, _ = select.select([listener.fileno(), lifeline], [], [])
        if lifeline in ready:
            os._exit(0)
        connection, _ = listener.accept()
        with connection:
            _, outputs, _, _ = socket.recv_fds(connection, 1, 2)
            wish = json.loads(connection.makefile("rb").read())
        if os.fork() == 0:
            listener.close()
            os.close(lifeline)
            _become_worker(wish, outputs)
        for output in outputs:
            os.close(output)


def _become_worker(wish: dict[str, Any], outputs: list[int]) -> NoReturn:
    """Does what a new interpreter would do with these arguments."""
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for target, output in zip((1, 2), outputs, strict=True):
            os.dup2(output, target)
            os.close(output)
        os.chdir(wish["folder"])
        os.environ.clear()
        os.environ.update(wish["environment"])
        _forget_draws()
        sys.argv = wish["arguments"]
        runpy.run_path(sys.argv[0], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _forget_draws() -> None:
    """New processes differ in what they draw; forks would draw the same."""
    random.seed()
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed()


if __name__ == "__main__":
    ask(sys.argv[1], sys.argv[2:])

"""`python -m harness.inside.engine <engine folder>`: serves the attempts of its inbox by training them with verl.

The process is light until an attempt is there: what it imports then is timed, and belongs to that attempt's start.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from harness.engine import AttemptDesk, EngineDesk
from harness.inside.nursery import GPU_MODULES, MODULES, Nursery
from harness.inside.page_cache import read_ahead
from harness.paths import EnginePaths
from harness.types import Reason, RunState


def main(folder: str) -> int:
    desk = EngineDesk(EnginePaths(Path(folder)))
    attempts = desk.attempts()
    attempt = next(attempts, None)
    if attempt is None:
        return 0
    try:
        enter(attempt)
        attempt.event("read_ahead", mib=read_ahead(attempt.spec.config["actor_rollout_ref"]["model"]["path"]))
        keep_models_code(Path(desk.spec.scratch) / "models")
        nursery = nursery_for(desk, attempt) if desk.spec.preload else None
        from harness.inside import runner
    except Exception as error:
        traceback.print_exc()
        attempt.conclude(RunState.FAILED, Reason.CRASHED, f"{type(error).__name__}: {error}", steps=0)
        return 1
    attempt.event("imported")
    return runner.run(desk, attempt, attempts, nursery)


def enter(attempt: AttemptDesk) -> None:
    """Sets what verl, Ray and wandb read from the environment; must come before they are imported."""
    os.environ.update(attempt.spec.environment)
    os.environ.pop("RAY_ADDRESS", None)  # it would put this engine into somebody else's cluster
    os.environ.setdefault("TQ_LOGGING_LEVEL", "ERROR")  # it warns of its own threads' number, a hundred times a step
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # to ask whether there is a GPU starts CUDA otherwise
    if _on_cpu(attempt):
        os.environ["VERL_PLATFORM"] = "cpu"


def keep_models_code(folder: Path) -> None:
    """Gives this engine a folder of its own for the modelling code that models bring along; must come before transformers is imported.

    transformers copies it there and finds it by a path that it sets in its own process. verl's workers are handed configurations of such
    models, and unpickle them before they have imported anything.
    """
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["HF_MODULES_CACHE"] = str(folder)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(folder))))
    sys.path.append(str(folder))


def nursery_for(desk: EngineDesk, attempt: AttemptDesk) -> Nursery:
    """Before this process has threads, or an accelerator in use: neither survives a fork."""
    scratch = Path(desk.spec.scratch)
    scratch.mkdir(parents=True, exist_ok=True)
    nursery = Nursery(scratch, MODULES if _on_cpu(attempt) else (*MODULES, *GPU_MODULES))
    attempt.event("nursery")
    return nursery


def _on_cpu(attempt: AttemptDesk) -> bool:
    return bool(attempt.spec.config["trainer"]["device"] == "cpu")


if __name__ == "__main__":
    status = main(sys.argv[1])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # all is written and ended; unwinding torch and wandb takes seconds and complains

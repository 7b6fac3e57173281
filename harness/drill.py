"""A stand-in trainer for rehearsals and tests: looks like verl from outside, trains nothing, and misbehaves when told to.

`python -m harness.drill <engine folder>`: writes verl's JSON lines step by step, along a curve that depends on the learning rate, the KL
coefficient and the rollout count. It reads the same configuration as verl would; its own settings are the key `drill`, which no
configuration of a real study has (conf/runner/drill.yaml adds it).
"""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from harness.engine import AttemptDesk, EngineDesk
from harness.paths import EnginePaths
from harness.types import Reason, RunState

BEST_LR, BEST_KL, BEST_N = 3e-5, 3e-3, 16  # where the curve is highest
_FOREVER_S = 3600.0
_CHECKPOINT_BYTES = 2**16
_MOST_TOKENS = 5000  # of one micro-batch that the drill has memory for
_TOKENS_PER_S = 1000.0
_VALIDATION = "validation"  # whichever its data source
_NOISE = b'\x1b[32m(TaskRunner pid=1) step\xff\n{"step": 1, "da\n[]\n' + b"\0" * 2**21 + b"\n"


class Mode(StrEnum):
    """What goes wrong, at `drill.at` of the way."""

    OK = "ok"
    CRASH = "crash"  # raises
    KILLED = "killed"  # by SIGKILL
    KILLED_ONCE = "killed_once"  # in the trial's first attempt only
    GPU_MEMORY = "gpu_memory"  # there is none where an update computes more than some tokens at once
    HANG = "hang"  # stops in the middle of a step and hears only signals
    NAN = "nan"  # the reward becomes NaN
    SILENT = "silent"  # trains on and logs nothing
    KL_BLOW_UP = "kl_blow_up"  # the policy leaves its reference, and its reward falls
    ENTROPY_COLLAPSE = "entropy_collapse"  # it gives one answer only, and its reward falls
    REWARD_HACKING = "reward_hacking"  # its reward rises while validation falls
    NO_SIGNAL = "no_signal"  # every answer is wrong
    SLOW = "slow"  # steps take ten times as long, by its own word
    NOISY = "noisy"  # writes what is no metric line among those that are
    DEAF = "deaf"  # hears neither the stop request nor SIGTERM
    FORKING = "forking"  # leaves children in sessions of their own, deaf to SIGTERM
    UNREADY = "unready"  # cannot stand by
    UNTRUSTED = "untrusted"  # fails its own check wherever its engine has served before


_RUINED = {"critic/rewards/mean": 0.02, _VALIDATION: 0.02}
_COLLAPSES: dict[Mode, dict[str, float]] = {  # what is logged from then on
    Mode.KL_BLOW_UP: {"actor/kl_loss": 25.0, **_RUINED},
    Mode.ENTROPY_COLLAPSE: {"actor/entropy": 1e-4, **_RUINED},
    Mode.REWARD_HACKING: {"critic/rewards/mean": 1.0, _VALIDATION: 0.02},
    Mode.NO_SIGNAL: {**_RUINED, "critic/score/mean": 0.0, "critic/score/max": 0.0},
    Mode.SLOW: {"perf/throughput": _TOKENS_PER_S / 10},
}


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """The key `drill`. Times are in seconds."""

    mode: Mode
    startup_s: float
    step_s: float
    noise: float
    at: float
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Knobs:
    """The part of verl's tree that bends the curve."""

    lr: float
    kl: float
    n: int
    steps: int
    test_freq: int
    seed: int


def knobs(config: Mapping[str, Any]) -> Knobs:
    """Read where verl reads them."""
    actor, trainer = config["actor_rollout_ref"]["actor"], config["trainer"]
    in_reward = config["algorithm"]["use_kl_in_reward"]
    return Knobs(
        lr=actor["optim"]["lr"],
        kl=config["algorithm"]["kl_ctrl"]["kl_coef"] if in_reward else actor["kl_loss_coef"],
        n=config["actor_rollout_ref"]["rollout"]["n"],
        steps=trainer["total_training_steps"],
        test_freq=trainer["test_freq"],
        seed=config["data"].get("seed") or 0,
    )


def read_settings(node: Mapping[str, Any]) -> Settings:
    return msgspec.convert({**node, "mode": str(node["mode"])}, Settings)  # to Hydra's command line, nan is a number


def ceiling(knob: Knobs) -> float:
    """The reward in [0.05, 0.95] that the curve tends to: a bell over the logarithms of learning rate, KL and n."""
    distance = (
        (math.log10(knob.lr / BEST_LR) / 0.8) ** 2
        + (math.log10(max(knob.kl, 1e-9) / BEST_KL) / 2.5) ** 2
        + (math.log2(knob.n / BEST_N) / 5) ** 2
    )
    return 0.05 + 0.9 * math.exp(-distance)


def reward(knob: Knobs, step: int) -> float:
    """The noiseless reward at a step: a sigmoid in the step; a learning rate far above the best one collapses half-way."""
    progress = step / max(knob.steps, 1)
    rise = 1 / (1 + math.exp(-8 * (progress - 0.4)))
    collapse = 1 / (1 + math.exp(20 * (progress - 0.5))) if knob.lr > 10 * BEST_LR else 1.0
    return 0.05 + (ceiling(knob) - 0.05) * rise * collapse


def metrics(knob: Knobs, settings: Settings, step: int, draw: random.Random) -> dict[str, float | None]:
    """One step's values, by verl's names."""
    value: float | None = min(max(reward(knob, step) + draw.gauss(0, settings.noise), 0.0), 1.0)
    gone_wrong = step >= settings.at * knob.steps
    if settings.mode is Mode.NAN and gone_wrong:
        value = None
    values = {
        "training/global_step": float(step),
        "critic/rewards/mean": value,
        "critic/score/mean": value,
        "critic/score/max": 1.0,
        "critic/score/min": 0.0,
        "actor/kl_loss": step * knob.lr * 10 / (1 + 100 * knob.kl),
        "actor/entropy": 2.0 * math.exp(-step * knob.lr * 100),
        "actor/grad_norm": 0.5 + abs(draw.gauss(0, 0.1)),
        "actor/lr": knob.lr,
        "response_length/mean": (length := 100 + 10 * draw.random()),
        "perf/throughput": _TOKENS_PER_S,
        "perf/total_num_tokens": round(knob.n * length),
        "timing_s/step": settings.step_s,
    }
    validation = f"val-core/{settings.source}/acc/mean@1"
    if knob.test_freq > 0 and (step % knob.test_freq == 0 or step == knob.steps):
        values[validation] = value
    collapse = _COLLAPSES.get(settings.mode, {}) if gone_wrong else {}
    return {name: collapse.get(_VALIDATION if name == validation else name, value) for name, value in values.items()}


class Checkpoints:
    """A trial's, in verl's places: a folder for each, and a file that names the last one."""

    def __init__(self, trainer: Mapping[str, Any]) -> None:
        folder = trainer.get("default_local_dir")
        self._folder = Path(folder) if folder else None
        self._freq = trainer.get("save_freq", -1)
        self.resumed = int(self._last.read_text()) if self._folder and self._last.exists() else 0  # the step that was saved last

    @property
    def _last(self) -> Path:
        assert self._folder is not None
        return self._folder / "latest_checkpointed_iteration.txt"

    def save(self, step: int, *, now: bool) -> None:
        if self._folder is None or not (now or (self._freq > 0 and step % self._freq == 0)):
            return
        place = self._folder / f"global_step_{step}"
        place.mkdir(parents=True, exist_ok=True)
        (place / "weights").write_bytes(bytes(_CHECKPOINT_BYTES))
        self._last.write_text(str(step))


def get_ready(desk: AttemptDesk) -> None:
    """Starts up for trials to come."""
    settings = read_settings(desk.spec.config["drill"])
    time.sleep(settings.startup_s)
    if settings.mode is Mode.UNREADY:
        raise RuntimeError("drill: told not to get ready")
    desk.ready()


def serve(desk: AttemptDesk) -> None:
    """One attempt, from its start-up to its result."""
    if not desk.trains:
        get_ready(desk)
        return
    knob, settings = knobs(desk.spec.config), read_settings(desk.spec.config["drill"])
    draw = random.Random(f"{knob.seed}/{knob.lr}/{knob.kl}/{knob.n}")
    path = Path(desk.spec.environment["VERL_FILE_LOGGER_PATH"])
    checkpoints = Checkpoints(desk.spec.config["trainer"])
    time.sleep(settings.startup_s)
    desk.event("training")
    with path.open("wb", buffering=0) as log:
        for step in range(1, knob.steps + 1):
            if step <= checkpoints.resumed:
                metrics(knob, settings, step, draw)  # for its random numbers
                continue
            if settings.mode is not Mode.OK and step >= settings.at * knob.steps:
                _MISBEHAVE[settings.mode](desk)
            time.sleep(settings.step_s)
            if settings.mode is Mode.NOISY:
                log.write(_NOISE)
            if settings.mode is not Mode.SILENT:
                log.write(msgspec.json.encode({"step": step, "data": metrics(knob, settings, step, draw)}) + b"\n")
            request = desk.stop_request()
            checkpoints.save(step, now=request is not None and request.reason.goes_on)
            if request is not None and settings.mode is not Mode.DEAF:
                desk.stopped(request, steps=step)
                return
    desk.conclude(RunState.SUCCEEDED, Reason.FINISHED, f"trained {knob.steps} steps", steps=knob.steps)


def _crash(_: AttemptDesk) -> None:
    raise RuntimeError("drill: told to crash")


def _be_killed(_: AttemptDesk) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _be_killed_once(desk: AttemptDesk) -> None:
    if desk.spec.attempt == 0:
        _be_killed(desk)


def update_actor(desk: AttemptDesk) -> None:
    """By the name of verl's function, for that is how a log tells which model ran out of memory."""
    tokens = desk.spec.config["actor_rollout_ref"]["actor"]["ppo_max_token_len_per_gpu"]
    if tokens > _MOST_TOKENS:
        raise MemoryError(f"CUDA out of memory. Tried to allocate {tokens / 1024:.2f} GiB.")


def _hang(_: AttemptDesk) -> None:
    time.sleep(_FOREVER_S)


def _go_deaf(_: AttemptDesk) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(_FOREVER_S)


def _fork(_: AttemptDesk) -> None:
    """A child that leaves our session, ignores SIGTERM and has a child of its own; twice removed from the engine."""
    child = "import signal,subprocess,sys,time; signal.signal(15, signal.SIG_IGN); subprocess.Popen(['sleep', '3600']); time.sleep(3600)"
    subprocess.Popen([sys.executable, "-c", child], start_new_session=True)


def _train_on(_: AttemptDesk) -> None:
    """What goes wrong goes wrong elsewhere."""


_MISBEHAVE: dict[Mode, Callable[[AttemptDesk], None]] = {
    Mode.CRASH: _crash,
    Mode.KILLED: _be_killed,
    Mode.KILLED_ONCE: _be_killed_once,
    Mode.GPU_MEMORY: update_actor,
    Mode.HANG: _hang,
    Mode.DEAF: _go_deaf,
    Mode.FORKING: _fork,
    Mode.NAN: _train_on,
    Mode.KL_BLOW_UP: _train_on,
    Mode.ENTROPY_COLLAPSE: _train_on,
    Mode.REWARD_HACKING: _train_on,
    Mode.NO_SIGNAL: _train_on,
    Mode.SLOW: _train_on,
    Mode.SILENT: _train_on,
    Mode.NOISY: _train_on,
    Mode.UNREADY: _train_on,
    Mode.UNTRUSTED: _train_on,
}


def main() -> None:
    engine = EngineDesk(EnginePaths(Path(sys.argv[1])))
    for desk in engine.attempts():
        os.environ.update(desk.spec.environment)
        try:
            if engine.served > 1 and desk.spec.config["drill"]["mode"] == Mode.UNTRUSTED:
                engine.close()
                desk.conclude(RunState.FAILED, Reason.UNTRUSTED, "drill: told not to trust itself", steps=0)
                return
            serve(desk)
        except Exception as error:
            desk.conclude(RunState.FAILED, Reason.CRASHED, f"{type(error).__name__}: {error}", steps=0)
            raise


if __name__ == "__main__":
    main()

"""Study folders with the records that a study leaves, written by the project's own code; starts nothing."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from harness import processes, records
from harness.drill import Knobs, reward
from harness.engine import Assignment
from harness.paths import AttemptPaths, EnginePaths, StudyPaths
from harness.trackers.wandb import WandbTracker
from harness.types import (
    AttemptResult,
    EngineSpec,
    Event,
    Lease,
    Limits,
    Objective,
    Reason,
    Role,
    RunState,
    Slot,
    StudyRecord,
    TrialResult,
    TrialSpec,
    TrialState,
)

METRIC = "val-core/openai/gsm8k/acc/mean@1"
OBJECTIVE = Objective(metric=METRIC)
LR, KL, N = "actor_rollout_ref.actor.optim.lr", "actor_rollout_ref.actor.kl_loss_coef", "actor_rollout_ref.rollout.n"
START = 1_700_000_000.0
DEAD = Lease(pid=2**22 + 1, started=0.0, boot_id=processes.my_lease().boot_id, host=processes.my_lease().host)
REASONS = {TrialState.COMPLETE: Reason.FINISHED, TrialState.PRUNED: Reason.PRUNED, TrialState.FAIL: Reason.CRASHED}


@dataclass(slots=True)
class StudyFactory:
    """Writes one study below `outputs`; each method adds what one process would have written."""

    outputs: Path
    name: str = "kl-and-lr"
    n_trials: int = 10
    total_steps: int | None = 30
    objectives: tuple[Objective, ...] = (OBJECTIVE,)
    slots: tuple[Slot, ...] = (Slot(index=0), Slot(index=1))
    command: tuple[str, ...] = ()
    knobs: tuple[str, ...] = (LR, KL, N)
    created_at: float = START
    paths: StudyPaths = field(init=False)

    def __post_init__(self) -> None:
        self.paths = StudyPaths(self.outputs / self.name)
        self.paths.root.mkdir(parents=True)
        record = StudyRecord(
            name=self.name,
            created_at=self.created_at,
            objectives=self.objectives,
            knobs=self.knobs,
            space={},
            n_trials=self.n_trials,
            seed=0,
            storage=str(self.paths.journal),
            slots=self.slots,
            command=self.command,
            sampler="TPESampler",
            pruner="MedianPruner",
            versions={},
            total_steps=self.total_steps,
        )
        records.write(self.paths.record, record)

    def controller(self, lease: Lease | None = None) -> None:
        """This very process, which lives, unless another lease is given."""
        records.replace(self.paths.lock, lease or processes.my_lease())

    def waiting(
        self, number: int, *, params: Mapping[str, Any] | None = None, seed: int = 1, configuration: str = "", role: Role = Role.TUNING
    ) -> None:
        params = dict(params or point(number))
        spec = TrialSpec(
            study=self.name,
            number=number,
            configuration=configuration or f"{number:08x}",
            params=params,
            overrides=tuple(f"{knob}={value}" for knob, value in params.items()),
            seed=seed,
            created_at=self.created_at + 100 * number,
            role=role,
        )
        self.paths.trial(number).root.mkdir()
        self.paths.trial(number).spec.write_bytes(records.encode(spec))  # thousands of them: no fsync

    def running(
        self,
        number: int,
        *,
        steps: int = 10,
        engine: int = 0,
        slot: str = "cpu:0",
        startup_s: float | None = 60.0,
        params: Mapping[str, Any] | None = None,
        seed: int = 1,
        configuration: str = "",
        role: Role = Role.TUNING,
        values: Sequence[float | None] | None = None,
    ) -> AttemptPaths:
        """As `waiting`, and an attempt with events and metrics; `startup_s` None: it does not train yet."""
        self.waiting(number, params=params, seed=seed, configuration=configuration, role=role)
        return self.attempt(number, 0, steps=steps, engine=engine, slot=slot, startup_s=startup_s, values=values)

    def attempt(
        self,
        number: int,
        attempt: int,
        *,
        steps: int = 10,
        first: int = 1,
        engine: int = 0,
        slot: str = "cpu:0",
        startup_s: float | None = 60.0,
        values: Sequence[float | None] | None = None,
    ) -> AttemptPaths:
        paths = self.paths.trial(number).attempt(attempt)
        paths.root.mkdir()
        at = self.created_at + 100 * (number + attempt)
        events = [Event(at=at, who="controller", name="given_slot", data={"slot": slot, "engine": f"engine-{engine}"})]
        if startup_s is not None:
            events.append(Event(at=at + startup_s, who="engine", name="training"))
            curve = list(values) if values is not None else drill_curve(number, steps, self.total_steps or 30)
            paths.metrics.write_bytes(b"".join(metric_line(first + index, value) for index, value in enumerate(curve)))
            os.utime(paths.metrics, (at + startup_s + 10 * steps,) * 2)
        paths.events.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in events))
        return paths

    def ended(
        self,
        number: int,
        state: TrialState = TrialState.COMPLETE,
        *,
        values: tuple[float, ...] | None = None,
        steps: int | None = None,
        reason: Reason | None = None,
        message: str = "",
        seconds: float = 400.0,
        gpu_seconds: float = 0.0,
        params: Mapping[str, Any] | None = None,
        seed: int = 1,
        configuration: str = "",
        role: Role = Role.TUNING,
        slot: str = "cpu:0",
    ) -> AttemptPaths:
        """A whole trial, its result included; COMPLETE ones end with what their curve ended with."""
        steps = steps if steps is not None else (self.total_steps or 30) if state is TrialState.COMPLETE else 12
        paths = self.running(number, steps=steps, slot=slot, params=params, seed=seed, configuration=configuration, role=role)
        if values is None and state is TrialState.COMPLETE:
            values = (drill_curve(number, steps, self.total_steps or 30)[-1],)
        result = TrialResult(
            number=number,
            state=state,
            reason=reason or REASONS[state],
            message=message,
            values=values,
            steps=steps,
            attempts=1,
            seconds=seconds,
            gpu_seconds=gpu_seconds,
            startup_s=60.0,
            slot=slot,
            ended_at=self.created_at + 100 * number + seconds,
        )
        self.paths.trial(number).result.write_bytes(records.encode(result))
        return paths

    def engine(self, number: int, *attempts: AttemptPaths, lease: Lease | None = None, log: str = "") -> EnginePaths:
        """An engine that was handed the attempts; its supervisor is this very process unless another lease is given."""
        paths = self.paths.engine(number)
        paths.inbox.mkdir(parents=True)
        spec = EngineSpec(
            engine=f"{self.name}-{number}-0123abcd",
            slot=Slot(index=0),
            argv=(),
            environment={},
            scratch="",
            limits=Limits(stop_grace_s=7.0),
            fingerprint="",
            serves=len(attempts) or 1,
        )
        records.write(paths.command, spec)
        records.write(paths.lease, lease or processes.my_lease())
        for index, attempt in enumerate(attempts):
            records.write(paths.assignment(index), Assignment(attempt=str(attempt.root)))
        paths.log.write_text(log)
        return paths


def point(number: int) -> dict[str, Any]:
    draw = random.Random(number)
    return {LR: 10 ** draw.uniform(-6, -4), KL: 10 ** draw.uniform(-4, -2), N: draw.choice([4, 8, 16])}


def drill_curve(number: int, steps: int, total: int) -> list[float]:
    """A plausible curve for the point of that number."""
    params, draw = point(number), random.Random(number)
    knobs = Knobs(lr=params[LR], kl=params[KL], n=params[N], steps=total, test_freq=1, seed=1)
    return [reward(knobs, step) + draw.gauss(0, 0.01) for step in range(1, steps + 1)]


def metric_line(step: int, value: float | None, metric: str = METRIC) -> bytes:
    """One line of verl's file logger."""
    return json.dumps({"step": step, "data": {"training/global_step": step, metric: value}}).encode() + b"\n"


def conclude(attempt: AttemptPaths, state: RunState = RunState.SUCCEEDED) -> None:
    records.write(attempt.result, AttemptResult(state=state, reason=Reason.FINISHED, message="", ended_at=START, steps=1))


def whole_study(outputs: Path, name: str = "kl-and-lr", *, n_trials: int = 30, told: int = 21, gpus: bool = False) -> StudyFactory:
    """A study in the middle of its life: two running trials, and COMPLETE, PRUNED and FAIL ones before them."""
    slots = tuple(Slot(index=index, gpus=(str(index),) if gpus else ()) for index in range(2))
    study = StudyFactory(outputs, name, n_trials=n_trials, slots=slots)
    for number in range(told):
        if number % 7 == 4:
            words = "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB" if number % 2 else "the engine ended with signal SIGKILL"
            study.ended(number, TrialState.FAIL, message=words, steps=3)
        elif number % 3 == 1:
            study.ended(number, TrialState.PRUNED, message="0.153 at step 12 is below the median 0.31 of 5 trials", slot=slots[0].name)
        else:
            study.ended(number, gpu_seconds=400.0 if gpus else 0.0, message="trained 30 steps", slot=slots[1].name)
    for index in range(min(2, n_trials - told)):
        attempt = study.running(told + index, steps=18 - 9 * index, engine=index, slot=slots[index].name)
        study.engine(index, attempt)
    study.controller()
    return study


def wandb_tracker(mode: str = "offline", *, entity: str | None = None, tags: Sequence[str] = ()) -> WandbTracker:
    """As conf/tracking/wandb.yaml makes it, without a run of the study."""
    return WandbTracker(mode=mode, entity=entity, tags=tags, study_run=False, site="https://wandb.test", sweep_page=False)


def opened_files(action: Any) -> list[str]:
    """Every path that `action` opens, in order (PEP 578)."""
    seen = _Listener.listen()
    action()
    return seen.stop()


class _Listener:
    """An audit hook can never be removed, so there is one, and it listens only when it is asked to."""

    paths: list[str] | None = None
    installed = False

    @classmethod
    def listen(cls) -> type[_Listener]:
        cls.paths = []
        if not cls.installed:
            sys.addaudithook(cls._hear)
            cls.installed = True
        return cls

    @classmethod
    def stop(cls) -> list[str]:
        heard, cls.paths = cls.paths or [], None
        return heard

    @classmethod
    def _hear(cls, event: str, arguments: tuple[Any, ...]) -> None:
        if cls.paths is not None and event == "open" and isinstance(arguments[0], str | os.PathLike):
            cls.paths.append(os.fspath(arguments[0]))

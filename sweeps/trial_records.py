"""What a study's folder says of its trials: specifications before they start, results when they end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from harness import command, records
from harness.attempt_watch import AttemptWatch
from harness.measures import Meter
from harness.metrics import MetricReader
from harness.paths import AttemptPaths, StudyPaths, TrialPaths
from harness.types import AttemptResult, FailureKind, Reason, Slot, TrialResult, TrialSpec
from sweeps import endings
from sweeps.config import unresolved
from sweeps.runner import Outcome, Proposal


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """What is known of a trial that had a slot."""

    attempt: AttemptPaths  # the last one
    slot: Slot
    steps: int
    warm: bool
    failure: FailureKind | None


def write_spec(study: StudyPaths, proposal: Proposal, *, seed: int, config: DictConfig | None = None) -> TrialSpec:
    """The trial's specification, or the one that is there."""
    paths = study.trial(proposal.number)
    known = records.read_if_there(paths.spec, TrialSpec)
    if known is not None:
        return known
    spec = TrialSpec(
        study=study.name,
        number=proposal.number,
        configuration=command.configuration_id(proposal.params),
        params=dict(proposal.params),
        overrides=proposal.overrides,
        seed=seed,
        created_at=time.time(),
        role=proposal.role,
    )
    paths.hydra.mkdir(parents=True, exist_ok=True)
    records.write_yaml(paths.hydra / "overrides.yaml", list(proposal.overrides))
    if config is not None:
        records.write_yaml(paths.hydra / "config.yaml", unresolved(config))
    records.write(paths.spec, spec)  # last: with it, the trial is whole
    return spec


def write_result(paths: TrialPaths, outcome: Outcome, ended: Ended | None = None) -> None:
    """Once; `ended` is None for a trial that never had a slot."""
    seconds, attempts = endings.slot_seconds(paths), paths.attempts()
    measured = _measured(paths, ended.attempt) if ended else {}
    result = TrialResult(
        number=paths.number,
        state=outcome.state,
        reason=outcome.reason,
        message=outcome.message,
        values=outcome.values,
        steps=ended.steps if ended else 0,
        attempts=len(attempts),
        seconds=seconds,
        gpu_seconds=seconds * (ended.slot.gpu_count if ended else 0.0),
        startup_s=endings.startup_s(ended.attempt) if ended else None,
        slot=ended.slot.name if ended else None,
        ended_at=time.time(),
        warm=ended is not None and ended.warm,
        failure=ended.failure if ended else None,
        restores=restores(attempts),
        **measured,
    )
    records.write(paths.result, result)


def last_slot(paths: TrialPaths) -> Ended:
    """What its last attempt left, of a trial that has no engine any more."""
    attempt = paths.attempts()[-1]
    watch = AttemptWatch(attempt, "")
    watch.follow_events()
    assert watch.slot is not None, "a trial that was paused had a slot"
    result = records.read(attempt.result, AttemptResult)
    warm = bool(watch.placed is not None and watch.placed.data.get("served"))
    return Ended(attempt=attempt, slot=Slot.named(watch.slot), steps=result.steps, warm=warm, failure=None)


def restores(attempts: Sequence[AttemptPaths]) -> int:
    """How often a trial went on after a pause."""
    results = (records.read_if_there(attempt.result, AttemptResult) for attempt in attempts[:-1])
    return sum(result is not None and result.reason is Reason.PAUSED for result in results)


def _measured(paths: TrialPaths, attempt: AttemptPaths) -> dict[str, Any]:
    """The parts of a result that events and metrics of the last attempt tell."""
    before = records.read_if_there(paths.attempt(attempt.number - 1).result, AttemptResult) if attempt.number else None
    spec, result = records.read(paths.spec, TrialSpec), records.read_if_there(attempt.result, AttemptResult)
    meter = Meter()
    for point in MetricReader(attempt.metrics).new_points():
        meter.add(point)
    asked_at = before.ended_at if before else spec.created_at
    ended_at = result.ended_at if result else time.time()
    return {"phases": meter.phases(list(records.events(attempt.events)), asked_at=asked_at, ended_at=ended_at), "gpu": meter.gpu()}

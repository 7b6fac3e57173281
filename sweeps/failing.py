"""What an attempt that failed leaves behind: its class and its evidence as a record, and the settings that the trial's next one changes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness import failures, preflight, records
from harness.errors import ConfigError
from harness.metrics import MetricReader
from harness.paths import AttemptPaths, EnginePaths
from harness.repairs import repair, repaired
from harness.types import AttemptResult, EngineResult, Failure, FailureKind

_MOST_BYTES = 8 * 2**20  # of a log's end
WORDS = {
    FailureKind.GPU_MEMORY: "out of GPU memory",
    FailureKind.GPU_BUSY: "somebody else used the GPU",
    FailureKind.HOST_MEMORY: "out of host memory",
    FailureKind.PORT: "a port was taken",
    FailureKind.COLLECTIVE: "the processes lost each other",
    FailureKind.NON_FINITE: "the training diverged",
    FailureKind.CHECKPOINT_SPACE: "no space to write",
    FailureKind.CONFIG: "a setting that verl does not take",
    FailureKind.MISSING_FILE: "a file is missing",
    FailureKind.KILLED: "killed from outside",
}


def examine(attempt: AttemptPaths, engine: EnginePaths, result: AttemptResult, config: Mapping[str, Any], swept: frozenset[str]) -> Failure:
    """Diagnoses an attempt whose engine is gone, with what may be changed for the next one; written down, once."""
    known = records.read_if_there(attempt.failure, Failure)
    if known is not None:
        return known
    ended = records.read_if_there(engine.ended, EngineResult)
    found = failures.diagnose(
        result,
        _log(attempt, engine.log),
        last=_last_metrics(attempt),
        exit_code=ended.exit_code if ended is not None else result.exit_code,
        oom_kills=ended.oom_kills if ended is not None else 0,
    )
    failure = Failure(kind=found.kind, lines=found.lines, part=found.part, repair=_safe(repair(found, config, swept), config))
    records.write(attempt.failure, failure)
    return failure


def mended(config: Mapping[str, Any], attempts: Iterable[AttemptPaths]) -> dict[str, Any]:
    """The configuration of a trial's next attempt: with all that was repaired after the ones before."""
    changes: dict[str, Any] = {}
    for attempt in attempts:
        failure = records.read_if_there(attempt.failure, Failure)
        changes |= failure.repair if failure is not None else {}
    return repaired(config, changes) if changes else dict(config)


def sentence(failure: Failure, message: str) -> str:
    """What a person is told."""
    words = WORDS.get(failure.kind)
    if words is None:
        return message
    return f"{words}{f' ({failure.part})' if failure.part else ''}: {message}"


def changes(failure: Failure) -> str:
    """The repair in Hydra's words."""
    return " ".join(f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in failure.repair.items())


def _safe(change: dict[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Nothing where verl would refuse it."""
    if not change:
        return {}
    try:
        preflight.refuse(repaired(config, change))
    except ConfigError:
        return {}
    return change


def _log(attempt: AttemptPaths, log: Path) -> str:
    """What the engine wrote since it was given the attempt; the end of it, where that is much."""
    offsets = [event.data.get("log_offset", 0) for event in records.events(attempt.events) if event.name == "given_slot"]
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(offsets[-1] if offsets else 0, size - _MOST_BYTES))
            return file.read(_MOST_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return ""


def _last_metrics(attempt: AttemptPaths) -> Mapping[str, float] | None:
    last = deque(MetricReader(attempt.metrics).new_points(), maxlen=1)
    return last[0].values if last else None

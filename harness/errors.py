"""Every error that this project raises on purpose; a message says what is wrong, where, and the cure.

HarnessError
  ConfigError (ValueError)      before anything starts; exit status 2
    SpaceError                  the search space
    PreflightError              a composed point that verl would refuse or distort (carries the findings)
    StudyMismatch               a study of that name exists and asks another question (carries the differences)
  LaunchError                   retried while attempts last
    SlotUnavailable
    GpuQuarantined
  RunError                      carries the trial, the attempt and the log's path
    RunFailed                   carries the kind
    RunTimeout
    RunStalled
  StorageLost                   carries whether waiting can help; what runs goes on
  NoSpaceForCheckpoint          carries the folder, the bytes that were wanted and those that are free
  TrackerError                  what a tracker's server is to be told stays on disk, for later
    TrackerUnreachable          nobody answers, or not in time; another time may do
  StudyInterrupted              exit status 130; the same command goes on
  MetricError
    MissingMetric               carries the names that were seen
    NonFiniteMetric             carries the step
  RecordError                   carries the path and the schema version

Pruning is a decision, not an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130  # as a shell reports SIGINT


class HarnessError(Exception):
    """Root of the tree; `retryable` says whether another attempt can help."""

    retryable = False


class ConfigError(HarnessError, ValueError):
    """What the user asked for cannot be done; nothing was started."""


class SpaceError(ConfigError):
    """The search space is empty, contradictory or not expressible in Optuna."""


class PreflightError(ConfigError):
    """verl would refuse this point, or silently train something else."""

    def __init__(self, message: str, *, findings: Sequence[object] = ()) -> None:
        super().__init__(message)
        self.findings = tuple(findings)


class StudyMismatch(ConfigError):
    """A study of this name exists with another space, objective or seed."""

    def __init__(self, message: str, *, differences: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.differences = tuple(differences)


class LaunchError(HarnessError):
    """An engine could not be started."""

    retryable = True


class SlotUnavailable(LaunchError):
    """No slot is free for this engine."""


class GpuQuarantined(LaunchError):
    """The memory of a GPU did not come back after an engine, and no other slot is left."""


class RunError(HarnessError):
    """An attempt did not end as a training that completed."""

    retryable = True

    def __init__(self, message: str, *, trial: int, attempt: int, log: Path | None = None) -> None:
        super().__init__(message)
        self.trial = trial
        self.attempt = attempt
        self.log = log


class RunFailed(RunError):
    """The training process ended by itself with an error."""

    def __init__(self, message: str, *, trial: int, attempt: int, kind: str, log: Path | None = None) -> None:
        super().__init__(message, trial=trial, attempt=attempt, log=log)
        self.kind = kind


class RunTimeout(RunError):
    """The attempt passed its wall-clock limit."""


class RunStalled(RunError):
    """The attempt wrote no metric and no log line for longer than its silence limit."""


class StorageLost(HarnessError):
    """The study's database failed in the midst of the study."""

    def __init__(self, message: str, *, may_come_back: bool) -> None:
        super().__init__(message)
        self.may_come_back = may_come_back


class NoSpaceForCheckpoint(HarnessError):
    """The disk does not hold another checkpoint."""

    def __init__(self, folder: Path, *, wanted_bytes: int, free_bytes: int) -> None:
        super().__init__(
            f"no space for a checkpoint: {folder} needs {wanted_bytes / 2**30:.2f} GiB more and its disk has {free_bytes / 2**30:.2f} GiB "
            "free; free some, set trainer.max_actor_ckpt_to_keep, or a larger trainer.save_freq"
        )
        self.folder = folder
        self.wanted_bytes = wanted_bytes
        self.free_bytes = free_bytes


class TrackerError(HarnessError):
    """A tracker's server was not told of a trial; all that it was to be told is on disk."""


class TrackerUnreachable(TrackerError):
    """The server does not answer, or does not take what it is given."""

    retryable = True


class StudyInterrupted(HarnessError):
    """A signal stopped the study before its last trial."""


class MetricError(HarnessError):
    """The objective cannot be read from the metrics that were logged."""


class MissingMetric(MetricError):
    """No logged metric matches the objective's pattern."""

    def __init__(self, pattern: str, seen: Sequence[str]) -> None:
        self.pattern = pattern
        self.seen = tuple(sorted(seen))
        names = ", ".join(self.seen) if self.seen else "none at all"
        super().__init__(f"objective.metric: no logged metric matches {pattern!r}; seen: {names}")


class NonFiniteMetric(MetricError):
    """The objective's metric became NaN or infinite."""

    def __init__(self, name: str, *, step: int, value: float) -> None:
        self.name = name
        self.step = step
        self.value = value
        super().__init__(f"{name} is {value} at step {step}: the training diverged")


class RecordError(HarnessError):
    """A record on disk cannot be read as what it claims to be."""

    def __init__(self, message: str, *, path: Path, version: int | None = None) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.version = version

"""Who held which slot, from when to when, how much of it was start-up; reads the events of attempts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.attempt_watch import AttemptWatch
from harness.paths import StudyPaths
from harness.status import StudyStatus
from harness.trial_status import TrialStatus, read_quietly
from harness.types import AttemptResult, TrialState

MOST = 1500  # attempts that are drawn: the latest


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """One attempt on its slot. `*_at` are seconds since the epoch."""

    trial: int
    attempt: int
    slot: str
    began_at: float
    training_at: float | None
    ended_at: float
    last: bool  # of its trial

    @property
    def startup_s(self) -> float:
        return max((self.training_at or self.ended_at) - self.began_at, 0.0)

    @property
    def seconds(self) -> float:
        return max(self.ended_at - self.began_at, 0.0)


def read_spans(status: StudyStatus) -> tuple[Span, ...]:
    """Of the latest attempts, ascending in time."""
    latest = sorted(status.trials, key=lambda trial: -(trial.ended_at or status.at))[:MOST]
    spans = [span for trial in latest for span in _spans(status.paths, trial, status.at)]
    return tuple(sorted(spans, key=lambda span: span.began_at)[-MOST:])


def _spans(study: StudyPaths, trial: TrialStatus, now: float) -> list[Span]:
    attempts = study.trial(trial.number).attempts()
    found = []
    for place, paths in enumerate(attempts):
        watch = AttemptWatch(paths, "")
        watch.follow_events()
        if watch.placed is None or watch.slot is None:
            continue
        result = read_quietly(paths.result, AttemptResult)
        last = place == len(attempts) - 1
        ended_at = result.ended_at if result is not None else trial.ended_at if last and trial.ended_at else watch.last_sign_at()
        if result is None and last and trial.state is TrialState.RUNNING and not trial.deserted:
            ended_at = now
        found.append(
            Span(
                trial=trial.number,
                attempt=paths.number,
                slot=watch.slot,
                began_at=watch.placed.at,
                training_at=watch.training.at if watch.training else None,
                ended_at=max(ended_at, watch.placed.at),
                last=last,
            )
        )
    return found


def idle_share(spans: Sequence[Span], slots: int) -> float | None:
    """Of the time from the first attempt to the last, what all slots together had nothing to do; None without attempts."""
    if not spans or not slots:
        return None
    whole = (max(span.ended_at for span in spans) - min(span.began_at for span in spans)) * slots
    return max(1 - sum(span.seconds for span in spans) / whole, 0.0) if whole > 0 else None

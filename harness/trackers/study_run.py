"""The run of a study itself, as its files tell it: who it is, where it is kept, how it ended. Imports no tracker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness import identity
from harness.command import study_key
from harness.status import StudyStatus
from harness.study_metrics import JOB
from harness.trackers.trial_run import End, Identity
from harness.types import StudyRecord
from harness.wording import best_words, definition

_UNFINISHED = 255  # what W&B's client says of a program that was interrupted


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyRun:
    """Written before its first writer starts, so that whoever writes it anew, or tells a server of it years later, knows who it is."""

    who: Identity
    online: bool


def identity_of(record: StudyRecord, *, entity: str | None, tags: Sequence[str]) -> Identity:
    """The same for every controller of the study."""
    asked = {
        "study": record.name,
        "objective": ", ".join(f"{one.direction.value} {one.metric}" for one in record.objectives),
        "n_trials": record.n_trials,
        "sampler": record.sampler,
        "pruner": record.pruner,
        "plan": record.plan,
        "seed": record.seed,
        "space": record.space,
        "versions": record.versions,
    }
    return Identity(
        id=f"{study_key(record.name, record.created_at)}-{JOB}",
        entity=entity,
        project=record.name,
        name=JOB,
        group=record.name,
        job_type=JOB,
        tags=identity.unique((record.name, JOB, *tags)),
        notes=record.note or definition(record.objectives[0]),
        config=asked,
    )


def end_of(status: StudyStatus) -> End:
    """For a study that no controller works on: a study that goes on later is not finished."""
    whole = status.ended or bool(status.record.stopped)
    summary = {"harness/state": "finished" if whole else "unfinished", "harness/best": best_words(status)}
    if status.record.stopped:
        summary["harness/message"] = status.record.stopped
    return End(tags=(summary["harness/state"],), summary=summary, exit_code=0 if whole else _UNFINISHED)

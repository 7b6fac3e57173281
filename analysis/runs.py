"""Makes a study of trainings that ran without this harness, as `harness.runs` reads them; refuses what is no study's name, or taken.

The study appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from harness import records
from harness.errors import ConfigError
from harness.paths import STUDY_NAME, StudyPaths, TrialPaths
from harness.runs.nouns import Found, Run, Wishes
from harness.runs.read import read_runs
from harness.trackers.trial_run import Told, rows_of
from harness.types import AttemptSpec, Params, Slot, StudyRecord, TrialResult, TrialSpec, TrialState


def take_in(source: str, outputs: Path, name: str | None, wishes: Wishes) -> tuple[StudyPaths, Found]:
    """The new study, called `name`, or else as its source is. Raises ConfigError or TrackerError, and then nothing was written."""
    if name is not None:
        _check(outputs, name)
    with tempfile.TemporaryDirectory(prefix="verl-study-") as spool:
        found = read_runs(source, wishes, Path(spool))
        study = _check(outputs, found.name if name is None else name)
        with _beside(study) as draft:
            _write(draft, study.name, found)
    return study, found


def _check(outputs: Path, name: str) -> StudyPaths:
    if not STUDY_NAME.fullmatch(name):
        raise ConfigError(f"--name: expected up to 64 letters, digits, '.', '_' or '-', got {name!r}")
    study = StudyPaths(outputs / name)
    if study.root.exists():
        raise ConfigError(f"{study.root} is there already; --name says what the study is to be called")
    return study


@contextlib.contextmanager
def _beside(study: StudyPaths) -> Iterator[StudyPaths]:
    """A folder that becomes the study when all is in it; whatever goes wrong before, nothing is left of it."""
    there = study.root.parent.exists()
    draft = study.root.with_name(f".{study.name}.{secrets.token_hex(4)}")
    draft.mkdir(parents=True)
    try:
        yield StudyPaths(draft)
        draft.rename(study.root)
    except BaseException:
        shutil.rmtree(draft)
        if not there:
            with contextlib.suppress(OSError):  # somebody else has made a study there meanwhile
                study.root.parent.rmdir()
        raise


def _write(draft: StudyPaths, name: str, found: Found) -> None:
    for number, run in enumerate(found.runs):
        _write_trial(draft.trial(number), name, number, run)
    records.write(draft.record, _record(name, found))


def _record(name: str, found: Found) -> StudyRecord:
    return StudyRecord(
        name=name,
        created_at=min(run.told.ended_at - run.seconds for run in found.runs),
        objectives=(found.objective,),
        knobs=tuple(dict.fromkeys(knob for run in found.runs for knob in _params(run))),
        space={},
        n_trials=len(found.runs),
        seed=None,
        storage="journal",
        slots=(Slot(index=0),),
        command=(),
        sampler="unknown",
        pruner="unknown",
        versions={},
        total_steps=found.total_steps,
        note=note(found),
        made_of=found.origin,
    )


def note(found: Found) -> str:
    """Where it is from, and by which rule its trials are called what they are."""
    counts = Counter(run.end.state for run in found.runs)
    words = [f"Made of {found.origin}: what is not in them is not known."]
    if counts[TrialState.PRUNED] or counts[TrialState.FAIL]:
        words.append("Shorter than the longest and not finished counts as stopped; ended with an error, or NaN, as failed.")
    if found.left_out:
        words.append(f"{found.left_out} without {found.objective.metric} left out.")
    if found.unreadable:
        words.append(f"{found.unreadable} with an unreadable log left out.")
    return " ".join(words)


def _params(run: Run) -> Params:
    """A run of which nothing is known is a configuration of its own."""
    return {"file": run.told.keys[0]} if run.told.params is None else run.told.params


def _write_trial(trial: TrialPaths, study: str, number: int, run: Run) -> None:
    attempt = trial.attempt(0)
    attempt.root.mkdir(parents=True)
    shutil.copyfile(run.told.metrics, attempt.metrics)
    records.write(
        trial.spec,
        TrialSpec(
            study=study,
            number=number,
            configuration=run.configuration,
            params=_params(run),
            overrides=(),
            seed=run.seed,
            created_at=run.told.ended_at - run.seconds,
        ),
    )
    if run.told.config:
        records.write(attempt.spec, _attempt_spec(study, number, run))
    if run.told.page is not None:  # W&B has it: there is nothing to tell
        records.write(trial.told, Told(run_id=run.told.page.run_id, rows=len(rows_of(trial)), told_at=time.time()))
    records.write(trial.result, _result(number, run))


def _attempt_spec(study: str, number: int, run: Run) -> AttemptSpec:
    """With verl's configuration, for whoever compares studies, and the address of its page."""
    page = run.told.page
    address = {"WANDB_ENTITY": page.entity, "WANDB_PROJECT": page.project, "WANDB_RUN_ID": page.run_id} if page is not None else {}
    return AttemptSpec(
        study=study,
        trial=number,
        attempt=0,
        run_id=page.run_id if page is not None else "",
        environment=address,
        fingerprint="",
        config=run.told.config,
    )


def _result(number: int, run: Run) -> TrialResult:
    end = run.end
    return TrialResult(
        number=number,
        state=end.state,
        reason=end.reason,
        message=end.message,
        values=(run.value,) if end.state is TrialState.COMPLETE and run.value is not None else None,
        steps=run.steps,
        attempts=1,
        seconds=run.seconds,
        gpu_seconds=run.gpu_seconds,
        startup_s=None,
        slot=None,
        ended_at=run.told.ended_at,
    )

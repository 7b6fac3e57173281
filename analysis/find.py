"""Finds the study and the trial that a person means; refuses with what there is instead."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from harness import records
from harness.errors import ConfigError, RecordError
from harness.paths import StudyPaths, TrialPaths
from harness.status import find_studies
from harness.types import StudyRecord

_MOST_NAMES = 12


def find_study(outputs: Path, name: str | None) -> StudyPaths:
    """By its name or its folder; the newest where there is no name. Raises ConfigError."""
    if name is None:
        return newest_study(outputs)
    studies = find_studies(outputs)
    for study in studies:
        if study.name == name:
            return study
    folder = StudyPaths(Path(name))
    if folder.record.is_file():
        return StudyPaths(folder.root.resolve())
    names = [study.name for study in studies]
    if not names:
        raise ConfigError(f"no study {name!r}: there is none in {outputs}; --outputs DIR says where to look")
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ConfigError(f"no study {name!r} in {outputs}: {hint}there {'are' if len(names) > 1 else 'is'} {_listed(names)}")


def newest_study(outputs: Path) -> StudyPaths:
    """By when it was created. Raises ConfigError where there is none."""
    dated = [(record.created_at, study) for study in find_studies(outputs) if (record := _record(study)) is not None]
    if not dated:
        raise ConfigError(f"there is no study in {outputs}; --outputs DIR says where to look")
    return max(dated, key=lambda pair: pair[0])[1]


def launched_record(study: StudyPaths) -> StudyRecord:
    """The record of a study that a command began. Raises ConfigError for one that was made of runs of other making."""
    record = records.read(study.record, StudyRecord)
    if record.made_of:
        raise ConfigError(
            f"no command began study {record.name}, it was made of {record.made_of}; verl-sweep takes its knobs by verl's names"
        )
    return record


def find_trial(study: StudyPaths, number: int) -> TrialPaths:
    """Raises ConfigError."""
    trial = study.trial(number)
    if trial.spec.exists() or trial.result.exists():
        return trial
    numbers = [paths.number for paths in study.trials()]
    there = f"its trials are {numbers[0]} to {numbers[-1]}" if numbers else "it has none yet"
    raise ConfigError(f"no trial {number} in study {study.name}: {there}")


def _record(study: StudyPaths) -> StudyRecord | None:
    try:
        return records.read(study.record, StudyRecord)
    except (OSError, RecordError):
        return None


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    return shown if len(names) <= _MOST_NAMES else f"{shown} and {len(names) - _MOST_NAMES} more"

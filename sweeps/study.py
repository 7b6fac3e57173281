"""Opens the study that a launch asks for: a new one, or one that goes on; refuses a name that already asks another question."""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import os
import shutil
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState as OptunaState

from harness import passwords, processes, records
from harness.errors import ConfigError, RecordError, StudyMismatch
from harness.paths import StudyPaths
from harness.trial_status import read_quietly
from harness.types import Direction, Objective, Slot, StudyRecord
from sweeps import verl_tree
from sweeps.config import Settings
from sweeps.plans.plan import BasePlan
from sweeps.space import Space, compare_spaces, space_signature

JOURNAL = "journal"  # as a record names a study's own storage
_OWNER = "verl-sweep"  # a study's attribute in a database: whose it is
_LEAST_FREE_BYTES = 200 * 2**20  # a study's own records; checkpoints are the user's to reckon with


def moment_name(prefix: str) -> str:
    """A name for what was given none: its moment."""
    return time.strftime(f"{prefix}-%Y%m%d-%H%M%S")


def describe(
    settings: Settings,
    space: Space,
    *,
    name: str,
    n_trials: int,
    url: str | None,
    slots: Sequence[Slot],
    arguments: Sequence[str],
    sampler: str,
    pruner: str,
    plan: BasePlan,
    total_steps: int | None,
    defaults: Mapping[str, Any],
) -> StudyRecord:
    """What is asked, as a record."""
    return StudyRecord(
        name=name,
        created_at=time.time(),
        objectives=settings.objectives,
        knobs=tuple(space.distributions),
        space=space_signature(space),
        n_trials=n_trials,
        seed=settings.sampler_seed,
        storage=passwords.address(url) if url else JOURNAL,
        slots=tuple(slots),
        command=passwords.arguments(arguments),
        sampler=sampler,
        pruner=pruner,
        versions=_versions(),
        total_steps=total_steps,
        note=settings.note,
        plan=type(plan).__name__,
        restore_cost=plan.restore_cost if plan.full_runs else None,
        defaults=dict(defaults),
    )


@contextmanager
def opened(asked: StudyRecord, paths: StudyPaths) -> Iterator[StudyRecord]:
    """The study's record, for this controller alone. Raises StudyMismatch or ConfigError before it changes a file."""
    known = refuse_mismatch(paths, asked)
    paths.root.mkdir(parents=True, exist_ok=True)
    with _alone(paths):
        record = asked if known is None else _going_on(known, asked)
        records.replace(paths.record, record)
        paths.stop.unlink(missing_ok=True)
        yield record


def _going_on(known: StudyRecord, asked: StudyRecord) -> StudyRecord:
    """The question stays; how far it is pursued is the present launch's."""
    return replace(
        known,
        n_trials=asked.n_trials,
        slots=asked.slots,
        plan=asked.plan,
        restore_cost=asked.restore_cost,
        stopped="",
        finished=False,
        defaults=asked.defaults,
    )


def refuse_anothers(kept: optuna.storages.BaseStorage, name: str, paths: StudyPaths) -> None:
    """A database may hold a study of this name that is not this folder's. Raises ConfigError."""
    known = known_record(paths)
    for there in kept.get_all_studies():
        if there.study_name == name and (_OWNER in there.user_attrs or kept.get_n_trials(there._study_id)):
            _refuse_other_owner(there.user_attrs.get(_OWNER), name, known.created_at if known else None)


def handle(
    record: StudyRecord,
    paths: StudyPaths,
    kept: optuna.storages.BaseStorage,
    *,
    sampler: optuna.samplers.BaseSampler,
    pruner: optuna.pruners.BasePruner,
) -> optuna.Study:
    """Optuna's, of a study that was opened. Raises ConfigError where its storage has forgotten it."""
    _refuse_empty(kept, paths)
    study = optuna.create_study(
        study_name=record.name,
        storage=kept,
        sampler=sampler,
        pruner=pruner,
        directions=[objective.direction.value for objective in record.objectives],
        load_if_exists=True,
    )
    if record.storage != JOURNAL:
        _claim(study, record, paths)
    _name_metrics(study, record)
    return study


def _claim(study: optuna.Study, record: StudyRecord, paths: StudyPaths) -> None:
    """Writes into the database whose study it is. Raises ConfigError where somebody else was faster."""
    if _OWNER not in study.user_attrs and not study.get_trials(deepcopy=False):
        folder = str(paths.root.absolute())
        study.set_user_attr(_OWNER, {"created_at": record.created_at, "host": processes.my_lease().host, "folder": folder})
    _refuse_other_owner(study.user_attrs.get(_OWNER), record.name, record.created_at)


def _refuse_other_owner(owner: Mapping[str, Any] | None, name: str, created_at: float | None) -> None:
    if owner is None or owner["created_at"] != created_at:
        whose = f"that of {owner['host']}:{owner['folder']}" if owner else "of another program"
        raise ConfigError(f"study.name: the database holds a study {name} already, {whose}; give this one another name")


def _refuse_empty(kept: optuna.storages.BaseStorage, paths: StudyPaths) -> None:
    """A study with trials whose storage has forgotten it would silently begin again."""
    known = any(study.study_name == paths.name for study in kept.get_all_studies())
    if not known and any(trial.spec.exists() for trial in paths.trials()):
        raise ConfigError(
            f"{paths.root} holds {len(paths.trials())} trials that its storage knows nothing of; restore {paths.journal.name} "
            "(or the database), or give another study.name"
        )


def _name_metrics(study: optuna.Study, record: StudyRecord) -> None:
    """For Optuna's own dashboard and plots, which show bare numbers otherwise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # of set_metric_names itself
        study.set_metric_names([objective.metric for objective in record.objectives])


def refuse_mismatch(paths: StudyPaths, asked: StudyRecord) -> StudyRecord | None:
    """The study's record, if there is one and it asks the same. Raises StudyMismatch, or ConfigError where there is no room for a study."""
    known = known_record(paths)
    if known is not None:
        refuse_another_question(known, asked)
    elif any(trial.spec.exists() for trial in paths.trials()):
        raise ConfigError(f"{paths.root} holds trials, but no {paths.record.name}; restore it, or give another study.name")
    _refuse_full_disk(paths.root)
    return known


def trials_so_far(paths: StudyPaths) -> int:
    """How many trials the study's folder holds."""
    return len(paths.trials())


def is_unfinished_trial(paths: StudyPaths) -> bool:
    """Whether the folder holds a trial that was launched alone and has not ended."""
    known = read_quietly(paths.record, StudyRecord)
    return known is not None and not known.knobs and known.n_trials == 1 and not paths.trial(0).result.exists()


def known_record(paths: StudyPaths) -> StudyRecord | None:
    """The record of a study that exists. Raises ConfigError where it cannot be read."""
    try:
        return records.read_if_there(paths.record, StudyRecord)
    except RecordError as error:
        raise ConfigError(f"{error}; restore it, or give the new study another name with study.name=...") from error


def refuse_another_question(known: StudyRecord, asked: StudyRecord) -> None:
    """Raises StudyMismatch with every difference in space and objective."""
    differences = compare_spaces(known.space, asked.space)
    if known.objectives != asked.objectives:
        differences.append(f"objective: was {_sentence(known.objectives)}, now {_sentence(asked.objectives)}")
    if known.storage != asked.storage:
        differences.append(f"hydra.sweeper.storage: was {known.storage}, now {asked.storage}")
    if differences:
        raise StudyMismatch(
            f"study.name: {known.name} exists and asks another question ({'; '.join(differences)}); give this one another name",
            differences=differences,
        )


def write_results(study: optuna.Study, path: Path) -> None:
    """The file that Hydra's Optuna sweeper leaves: the best point, or the Pareto front of several objectives."""
    complete = study.get_trials(deepcopy=False, states=(OptunaState.COMPLETE,))
    if not complete:
        return
    import yaml

    if len(study.directions) == 1:
        results: dict[str, object] = {"name": "optuna", "best_params": study.best_trial.params, "best_value": study.best_trial.value}
    else:
        results = {"name": "optuna", "solutions": [{"params": trial.params, "values": list(trial.values)} for trial in study.best_trials]}
    records.write_text(path, yaml.safe_dump(json.loads(json.dumps(results)), sort_keys=False))


@contextmanager
def _alone(paths: StudyPaths) -> Iterator[None]:
    """One controller a study: the lock dies with its holder, whose lease is the lock file's text."""
    with paths.lock.open("ab") as lock:
        _take(lock, paths)
        lock.truncate(0)
        lock.write(records.encode(processes.my_lease()))
        lock.flush()
        yield


def refuse_taken(paths: StudyPaths) -> None:
    """A study that another controller runs is refused at once, before anything is composed. Raises ConfigError."""
    if paths.lock.exists():
        with paths.lock.open("rb") as lock:
            _take(lock, paths)  # until the file is closed


def _take(lock: IO[bytes], paths: StudyPaths) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ConfigError(
            f"study {paths.name} is being run by another controller (see {paths.lock}); watch it with: verl-study watch {paths.name}"
        ) from error


def _refuse_full_disk(folder: Path) -> None:
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not os.access(there, os.W_OK):
        raise ConfigError(f"paths.outputs: {there} is not writable; give another folder with paths.outputs=...")
    free, least = shutil.disk_usage(there).free / 2**20, _LEAST_FREE_BYTES / 2**20
    if free < least:
        raise ConfigError(f"paths.outputs: {there} has {free:.0f} MiB left on its disk, a study needs {least:.0f} MiB at least")


def _sentence(objectives: Sequence[Objective]) -> str:
    return " and ".join(
        f"{'max' if objective.direction is Direction.MAXIMIZE else 'min'} {objective.metric} ({objective.reduction})"
        for objective in objectives
    )


def _versions() -> dict[str, str]:
    names = ("verl-sweep", "optuna", "hydra-core", "torch", "ray", "vllm", "transformers", "wandb")
    found = {"python": sys.version.split()[0], "verl": verl_tree.version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found

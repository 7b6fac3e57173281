"""Where trainings that ran elsewhere are kept: a folder of verl's metric files, one of W&B runs, or a project at W&B; refuses all else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from harness.errors import ConfigError
from harness.metrics import parse
from harness.paths import StudyPaths
from harness.plain import plain
from harness.runs.nouns import Told, Wishes
from harness.runs.tracked import as_told, stored, stored_logs
from harness.trackers.past_runs import AskedRuns, PastRun, by_run, of_project

PROJECT = "wandb://"
_PROJECT = re.compile(r"wandb://([^/\s]+)/([^/\s]+)/?")
# A run's own folder, a folder of runs, one in which a training was started, one of such: not below, for a disk may hold millions of files.
_LOGS = ("run-*.wandb", "*run-*/run-*.wandb", "wandb/*run-*/run-*.wandb", "*/wandb/*run-*/run-*.wandb")
_FIRST = 10  # lines by which a file is known
_RUNS = "wandb"  # the folder's name that says nothing


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """One training: its metrics, and the W&B run whose rows they are."""

    metrics: Path
    run: PastRun | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """By which runs.yaml may call it."""
        return (self.metrics.name,) if self.run is None else (self.run.id, plain(self.run.name))


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    name: str
    origin: str  # in words
    folder: Path | None  # where runs.yaml may lie
    kept: Sequence[Kept]
    unreadable: int = 0  # logs of W&B runs that are none


def is_source(folder: Path) -> bool:
    """Whether there are runs in a folder, of one kind or the other."""
    return bool(_metric_files(folder) or _logs(folder))


def open_source(source: str, wishes: Wishes, spool: Path) -> Source:
    """Metric files are preferred where a folder has both, for they are whole. Raises ConfigError, and TrackerError of W&B's server."""
    if source.startswith(PROJECT):
        return _project(source, wishes, spool)
    folder = Path(source)
    if StudyPaths(folder).record.is_file():
        raise ConfigError(f"{folder} is a study already: verl-study report {folder}")
    if files := _metric_files(folder):
        if wishes.group or wishes.tag:
            raise ConfigError(f"{folder}: --group and --tag choose among W&B's runs, and these are verl's metric files")
        kept = [Kept(metrics=file) for file in files]
        return Source(name=_name(folder), origin=f"the metric files in {_name(folder)}", folder=folder, kept=kept)
    if logs := _logs(folder):
        return _on_disk(folder, logs, wishes, spool)
    raise ConfigError(f"{folder} holds neither verl's metrics (*.jsonl) nor W&B runs (wandb/*run-*); {PROJECT}ENTITY/PROJECT is at W&B")


def told_of(kept: Sequence[Kept]) -> list[Told]:
    """What the source says of each, all of them being of one kind."""
    runs = [(one.metrics, one.run) for one in kept if one.run is not None]
    if runs:
        return as_told(runs)
    return [Told(name=one.metrics.stem, keys=one.keys, metrics=one.metrics, ended_at=one.metrics.stat().st_mtime) for one in kept]


def _on_disk(folder: Path, logs: Sequence[Path], wishes: Wishes, spool: Path) -> Source:
    found = stored_logs(logs, spool)
    chosen = [(path, run) for path, run in found if wishes.group in ("", run.group) and (not wishes.tag or wishes.tag in run.tags)]
    return Source(
        name=_name(folder),
        origin=f"the W&B runs in {_name(folder)}{_choice(wishes)}",
        folder=folder,
        kept=[Kept(metrics=path, run=run) for path, run in chosen],
        unreadable=len(by_run(logs)) - len(found),
    )


def _project(source: str, wishes: Wishes, spool: Path) -> Source:
    address = _PROJECT.fullmatch(source)
    if address is None:
        raise ConfigError(f"expected {PROJECT}ENTITY/PROJECT, got {source}")
    entity, project = address.groups()
    found = stored(of_project(AskedRuns(entity=entity, project=project, group=wishes.group, tag=wishes.tag)), spool)
    return Source(
        name=project,
        origin=f"W&B's project {entity}/{project}{_choice(wishes)}",
        folder=None,
        kept=[Kept(metrics=path, run=run) for path, run in found],
    )


def _metric_files(folder: Path) -> list[Path]:
    """Data may lie about as JSON lines, too."""
    return [file for file in sorted(folder.glob("*.jsonl")) if _begins_with_metrics(file)]


def _begins_with_metrics(file: Path) -> bool:
    with file.open("rb") as lines:
        return any(parse(line) is not None for line in islice(lines, _FIRST))


def _logs(folder: Path) -> list[Path]:
    """Each once, whatever links lead to it."""
    found = {log.resolve() for pattern in _LOGS for log in folder.glob(pattern)}
    return sorted(found)


def _name(folder: Path) -> str:
    whole = folder.resolve()
    return whole.parent.name if whole.name == _RUNS else whole.name


def _choice(wishes: Wishes) -> str:
    words = [f"{name} {value}" for name, value in (("group", wishes.group), ("tag", wishes.tag)) if value]
    return f" ({', '.join(words)})" if words else ""

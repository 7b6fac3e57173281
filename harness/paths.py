"""Every file name, once; touches no disk."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TRIAL = re.compile(r"trial-(\d{4,})")
_ATTEMPT = re.compile(r"attempt-(\d+)")
_ENGINE = re.compile(r"engine-(\d+)")

MADE_FROM = "made_from.json"  # in a policy or task that was made on the spot: the options that it was made from


@dataclass(frozen=True, slots=True)
class AttemptPaths:
    """`trial-0007/attempt-0`"""

    root: Path

    @property
    def number(self) -> int:
        return _number(_ATTEMPT, self.root)

    @property
    def spec(self) -> Path:
        return self.root / "spec.yaml"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def events(self) -> Path:
        return self.root / "events.jsonl"

    @property
    def stop(self) -> Path:
        return self.root / "stop.json"

    @property
    def result(self) -> Path:
        return self.root / "result.json"

    @property
    def failure(self) -> Path:
        """Why it failed, where it did."""
        return self.root / "failure.json"

    @property
    def guard(self) -> Path:
        """What guards said of it, where one fired."""
        return self.root / "guard.json"

    @property
    def wandb_runs(self) -> tuple[Path, ...]:
        """The offline runs that wandb wrote below this folder, which it is given as its own."""
        return tuple(sorted((self.root / "wandb").glob("offline-run-*")))

    @property
    def swanlog(self) -> Path:
        """SwanLab's runs."""
        return self.root / "swanlog"

    @property
    def trial(self) -> TrialPaths:
        return TrialPaths(self.root.parent)


@dataclass(frozen=True, slots=True)
class TrialPaths:
    """`<study>/trial-0007`"""

    root: Path

    @property
    def number(self) -> int:
        return _number(_TRIAL, self.root)

    @property
    def spec(self) -> Path:
        return self.root / "trial.json"

    @property
    def result(self) -> Path:
        return self.root / "result.json"

    @property
    def told(self) -> Path:
        """That its run is with W&B's server, whole and closed."""
        return self.root / "told.json"

    @property
    def courier_lock(self) -> Path:
        """Locked by the process that tells W&B of this trial."""
        return self.root / "courier.lock"

    @property
    def courier_log(self) -> Path:
        return self.root / "courier.log"

    @property
    def wandb_runs(self) -> tuple[Path, ...]:
        """The offline run of the whole trial, where its engines could not write one."""
        return tuple(sorted((self.root / "wandb").glob("offline-run-*")))

    @property
    def hydra(self) -> Path:
        return self.root / ".hydra"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    def attempt(self, number: int) -> AttemptPaths:
        return AttemptPaths(self.root / f"attempt-{number}")

    def attempts(self) -> tuple[AttemptPaths, ...]:
        return tuple(AttemptPaths(path) for path in _sorted(self.root, _ATTEMPT))


@dataclass(frozen=True, slots=True)
class EnginePaths:
    """`<study>/engine-3`"""

    root: Path

    @property
    def number(self) -> int:
        return _number(_ENGINE, self.root)

    @property
    def command(self) -> Path:
        return self.root / "command.json"

    @property
    def lease(self) -> Path:
        """The supervisor's."""
        return self.root / "lease.json"

    @property
    def lock(self) -> Path:
        """Locked by the living supervisor."""
        return self.root / "supervisor.lock"

    @property
    def ended(self) -> Path:
        """Written when all that the engine started is gone."""
        return self.root / "ended.json"

    @property
    def log(self) -> Path:
        return self.root / "engine.log"

    @property
    def events(self) -> Path:
        return self.root / "events.jsonl"

    @property
    def inbox(self) -> Path:
        """Assignments, one file each: `000000.json`, `000001.json`, ..."""
        return self.root / "inbox"

    @property
    def leave(self) -> Path:
        """Its presence asks the engine to end once it is idle."""
        return self.root / "leave"

    @property
    def warm_up(self) -> AttemptPaths:
        """The attempt of no trial that an engine starts with which stands by."""
        return AttemptPaths(self.root / "attempt-0")

    @property
    def study(self) -> StudyPaths:
        return StudyPaths(self.root.parent)

    def assignment(self, index: int) -> Path:
        return self.inbox / f"{index:06d}.json"

    def assignments(self) -> tuple[Path, ...]:
        """Those that are there, in order."""
        return tuple(sorted(self.inbox.glob("[0-9]*.json")))


@dataclass(frozen=True, slots=True)
class OwnRunPaths:
    """`<study>/study-run`: the run of the study itself, for W&B."""

    root: Path

    @property
    def spec(self) -> Path:
        """Who the run is."""
        return self.root / "run.json"

    @property
    def told(self) -> Path:
        """That W&B's server has it, whole and closed."""
        return self.root / "told.json"

    @property
    def lock(self) -> Path:
        """Locked by the process that writes it."""
        return self.root / "writer.lock"

    @property
    def log(self) -> Path:
        return self.root / "writer.log"

    @property
    def wandb_runs(self) -> tuple[Path, ...]:
        return tuple(sorted((self.root / "wandb").glob("offline-run-*")))


@dataclass(frozen=True, slots=True)
class StudyPaths:
    """`outputs/<study>`"""

    root: Path

    @property
    def name(self) -> str:
        return self.root.name

    @property
    def record(self) -> Path:
        return self.root / "study.yaml"

    @property
    def journal(self) -> Path:
        return self.root / "journal.log"

    @property
    def log(self) -> Path:
        return self.root / "controller.log"

    @property
    def lock(self) -> Path:
        """Locked by the living controller; its text is the holder's pid."""
        return self.root / "controller.lock"

    @property
    def stop(self) -> Path:
        """Its presence asks the controller to stop the study."""
        return self.root / "stop.json"

    @property
    def wandb(self) -> Path:
        """A folder of links to the offline W&B runs of all trials: what `wandb leet` and `wandb sync` want to be given."""
        return self.root / "wandb"

    @property
    def sweep(self) -> Path:
        """W&B's sweep object of the study, where it has one."""
        return self.root / "sweep.json"

    @property
    def own_run(self) -> OwnRunPaths:
        return OwnRunPaths(self.root / "study-run")

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's events, a folder for each trial."""
        return self.root / "tensorboard"

    @property
    def mlflow(self) -> Path:
        """MLflow's database."""
        return self.root / "mlflow.db"

    @property
    def trackio(self) -> Path:
        """The folder of trackio's database."""
        return self.root / "trackio"

    @property
    def report(self) -> Path:
        return self.root / "report"

    @property
    def dashboards(self) -> Path:
        """What `verl-study wandb --dry-run` would send."""
        return self.report / "wandb.json"

    @property
    def results(self) -> Path:
        """Hydra users know this name from the Optuna sweeper."""
        return self.root / "optimization_results.yaml"

    def trial(self, number: int) -> TrialPaths:
        return TrialPaths(self.root / f"trial-{number:04d}")

    def trials(self) -> tuple[TrialPaths, ...]:
        return tuple(TrialPaths(path) for path in _sorted(self.root, _TRIAL))

    def engine(self, number: int) -> EnginePaths:
        return EnginePaths(self.root / f"engine-{number}")

    def engines(self) -> tuple[EnginePaths, ...]:
        return tuple(EnginePaths(path) for path in _sorted(self.root, _ENGINE))


def _number(pattern: re.Pattern[str], path: Path) -> int:
    match = pattern.fullmatch(path.name)
    assert match is not None, path
    return int(match[1])


def _sorted(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if pattern.fullmatch(path.name)]
    return sorted(found, key=lambda path: _number(pattern, path))

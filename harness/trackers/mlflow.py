"""What MLflow is told of an attempt: which database, and the tags of its run; imports no mlflow and holds no secret."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness import identity, passwords
from harness.errors import ConfigError
from harness.paths import AttemptPaths, StudyPaths
from harness.trackers import companion
from harness.types import TrialSpec

_URI = "MLFLOW_TRACKING_URI"


@dataclass(frozen=True, kw_only=True, slots=True)
class MlflowTracker:
    """MLflow's experiment is the study, its runs are attempts, whose tags say of which trial; verl has no way to go on in a run.

    verl's default is a database for the whole machine. Here it is the study's own, unless `uri` or MLFLOW_TRACKING_URI names another.
    """

    uri: str | None
    tags: Mapping[str, str]

    def __post_init__(self) -> None:
        if self.uri and passwords.address(self.uri) != self.uri:
            raise ConfigError("tracking.uri: a password would be recorded; give it in the environment, MLFLOW_TRACKING_PASSWORD")

    @property
    def loggers(self) -> tuple[str, ...]:
        return ("console", "file", "mlflow")

    def environment(self, trial: TrialSpec, attempt: AttemptPaths, *, run_id: str) -> dict[str, str]:
        told = {
            **identity.configuration(trial, ()),
            "attempt": attempt.number,
            "run": run_id,
            "mlflow.note.content": identity.notes(trial),  # what MLflow shows as its description
            **self.tags,
        }
        # The tags of every run that a process begins: MLflow's own variable for whoever starts it.
        context = json.dumps({name: str(value) for name, value in told.items()})
        return {"MLFLOW_RUN_CONTEXT": context, "MLFLOW_DISABLE_TELEMETRY": "true"} | self._address(attempt)

    def prepare(self, study: StudyPaths, say: Callable[[str], None]) -> None:
        """Engines that make the same database at the same time all fail, and their trials go on without MLflow: so it is made before them.

        Raises ConfigError.
        """
        if self.uri or os.environ.get(_URI) or study.mlflow.exists():
            return
        say(f"making MLflow's database, {study.mlflow.name}")
        said = list(companion.lines("harness.trackers.mlflow_database", str(study.mlflow.absolute()), study.name))
        if not study.mlflow.exists():
            raise ConfigError(f"tracking=mlflow: {study.mlflow} cannot be made: {said[-1].strip() if said else 'see above'}")

    def _address(self, attempt: AttemptPaths) -> dict[str, str]:
        """None where the environment has one already: it may hold a password, and engines inherit it."""
        if self.uri:
            return {_URI: self.uri}
        study = StudyPaths(attempt.trial.root.parent)
        return {} if os.environ.get(_URI) else {_URI: f"sqlite:///{study.mlflow.absolute()}"}

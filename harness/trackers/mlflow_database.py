"""`python -m harness.trackers.mlflow_database <file> <experiment>`: makes a study's database for MLflow, whole or not at all."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def make(path: Path, experiment: str) -> None:
    """Takes about ten seconds: MLflow brings a new database up through all of its versions."""
    import mlflow

    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    # The path that artifacts get is in the database, so it must not be relative to wherever this runs.
    artifacts = (path.parent / "mlflow-artifacts").as_uri()
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{beside}").create_experiment(experiment, artifact_location=artifacts)
    beside.replace(path)


if __name__ == "__main__":
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    try:
        make(Path(sys.argv[1]), sys.argv[2])
    except Exception as error:  # whatever it is, who waits wants one line
        print(" ".join(f"{type(error).__name__}: {error}".split())[:300], flush=True)
        sys.exit(1)

"""Claims about where a report's links lead."""

from __future__ import annotations

from pathlib import Path

import pytest
from factory import LR, StudyFactory

from analysis.report.links import Links, links
from harness import records
from harness.status import load_study
from harness.trackers.trial_run import Told
from harness.types import AttemptSpec


def of_only_trial(study: StudyFactory) -> Links:
    status = load_study(study.paths)
    return links(status, status.trials[0])


@pytest.fixture
def study(tmp_path: Path) -> StudyFactory:
    made = StudyFactory(tmp_path, command=("-m", "experiment=mine", "study.name=kl-and-lr"), knobs=(LR,))
    made.ended(0, values=(0.5,), params={LR: 1e-5})
    return made


def logged(study: StudyFactory, **environment: str) -> None:
    spec = AttemptSpec(study="kl-and-lr", trial=0, attempt=0, run_id="r", environment=environment, fingerprint="", config={"data": {}})
    records.write(study.paths.trial(0).attempt(0).spec, spec)


def test_log_and_metrics_are_relative_to_the_reports_folder(study: StudyFactory) -> None:
    study.engine(0, study.paths.trial(0).attempt(0))
    found = of_only_trial(study)
    assert (found.log, found.metrics) == ("../engine-0/engine.log", "../trial-0000/attempt-0/metrics.jsonl")
    assert all((study.paths.report / path).resolve().is_file() for path in (found.log, found.metrics))


def test_an_offline_run_is_its_folder(study: StudyFactory) -> None:
    logged(study, WANDB_MODE="offline", WANDB_RUN_ID="kl-and-lr-0000")
    (study.paths.trial(0).attempt(0).root / "wandb" / "offline-run-20261126_101112-kl-and-lr-0000").mkdir(parents=True)
    assert of_only_trial(study).wandb == "../trial-0000/attempt-0/wandb/offline-run-20261126_101112-kl-and-lr-0000"


def test_a_run_that_wandb_was_told_of_is_its_page(study: StudyFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    logged(study, WANDB_MODE="offline", WANDB_ENTITY="my team", WANDB_RUN_ID="kl-and-lr-0000")
    assert of_only_trial(study).wandb == ""
    records.write(study.paths.trial(0).told, Told(run_id="kl-and-lr-0000", rows=30, told_at=1.0))
    assert of_only_trial(study).wandb == "https://forge.coreweave.com/wandb/my%20team/kl-and-lr/runs/kl-and-lr-0000"
    monkeypatch.setenv("WANDB_BASE_URL", "https://api.wandb.mine/")
    assert of_only_trial(study).wandb == "https://wandb.mine/my%20team/kl-and-lr/runs/kl-and-lr-0000"


def test_what_is_not_there_has_no_link(study: StudyFactory) -> None:
    found = of_only_trial(study)
    assert (found.log, found.wandb) == ("", "")


def test_the_command_names_a_study_of_its_own(study: StudyFactory) -> None:
    assert of_only_trial(study).command == f"verl-sweep study.name=kl-and-lr-repro-0 experiment=mine {LR}=1e-05"

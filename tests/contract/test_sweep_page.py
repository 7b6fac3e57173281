"""W&B's own page of a sweep, by the real client: made once for a study, and its trials' runs are attached to it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from factory import StudyFactory, wandb_tracker
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution, distribution_to_json
from wandb_server import WandbServer

from harness import records
from harness.errors import ConfigError
from harness.trackers.sweep_page import SweepPage, sweep_config
from harness.types import AttemptSpec, StudyRecord, TrialSpec

CLIP = "actor_rollout_ref.actor.clip_ratio_high"
DISTRIBUTIONS = {
    "lr": FloatDistribution(1e-6, 1e-4, log=True),
    CLIP: FloatDistribution(0.2, 0.4),
    "steps": IntDistribution(10, 50),
    "rollout_n": CategoricalDistribution((4, 8, 16)),
}
SPACE = {knob: distribution_to_json(distribution) for knob, distribution in DISTRIBUTIONS.items()}
RUN = "kl-and-lr-abc123-0000"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WandbServer]:
    with WandbServer() as server:
        for name, value in (server.environment | {"HOME": str(tmp_path), "WANDB_DIR": str(tmp_path)}).items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def study(tmp_path: Path) -> StudyFactory:
    study = StudyFactory(tmp_path / "outputs")
    records.replace(study.paths.record, replace(records.read(study.paths.record, StudyRecord), space=SPACE))
    return study


def test_the_sweep_is_told_the_space_in_its_own_words(study: StudyFactory) -> None:
    told = sweep_config(records.read(study.paths.record, StudyRecord))
    assert told["parameters"] == {
        "lr": {"distribution": "log_uniform_values", "min": 1e-6, "max": 1e-4},
        "actor_rollout_ref/actor/clip_ratio_high": {"distribution": "uniform", "min": 0.2, "max": 0.4},
        "steps": {"distribution": "int_uniform", "min": 10, "max": 50},
        "rollout_n": {"values": [4, 8, 16]},
    }
    assert (told["method"], told["metric"]) == ("custom", {"name": "harness/value", "goal": "maximize"})


def test_a_study_has_one_sweep_and_its_trials_are_attached_to_it(server: WandbServer, study: StudyFactory) -> None:
    tracker = replace(wandb_tracker("online"), sweep_page=True)
    for _ in range(2):  # the second launch finds it
        tracker.prepare(study.paths, lambda words: None)
    (sweep,) = server.store.sweeps.values()
    page = records.read(study.paths.sweep, SweepPage)
    assert (page.id, page.entity, page.project) == (sweep.name, "tests", "kl-and-lr")
    assert yaml.safe_load(sweep.config)["method"] == "custom"
    attempt = study.ended(0, values=(0.5,))
    environment = tracker.environment(records.read(attempt.trial.spec, TrialSpec), attempt, run_id=RUN)
    config = {"trainer": {"project_name": "kl-and-lr", "experiment_name": "trial-0000"}}
    spec = AttemptSpec(study="kl-and-lr", trial=0, attempt=0, run_id=RUN, environment=environment, fingerprint="", config=config)
    records.replace(attempt.spec, spec)
    words = [sys.executable, "-m", "harness.trackers.courier", "sync", str(study.paths.root)]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert json.loads(ran.stdout)["told"], ran.stdout + ran.stderr
    assert server.store.run(RUN).sweep == sweep.name


def test_a_page_that_cannot_be_made_is_said_with_the_cure(server: WandbServer, study: StudyFactory) -> None:
    server.go()
    with pytest.raises(ConfigError, match=r"tracking\.sweep_page: W&B at http.* does not answer.*tracking\.sweep_page=false does without"):
        replace(wandb_tracker("online"), sweep_page=True).prepare(study.paths, lambda words: None)


def test_a_page_is_refused_offline() -> None:
    with pytest.raises(ConfigError, match=r"tracking\.sweep_page: .* tracking\.mode=online"):
        replace(wandb_tracker("offline"), sweep_page=True)

"""Every tracker's yaml, run through the contract of `harness.trackers.base.Tracker`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from factory import wandb_tracker
from hydra.utils import instantiate
from omegaconf import OmegaConf

from harness.errors import ConfigError
from harness.paths import StudyPaths
from harness.types import TrialSpec

YAMLS = sorted((Path(__file__).parents[2] / "conf" / "tracking").glob("*.yaml"))
TRIAL = TrialSpec(study="gsm8k", number=7, configuration="0a1b2c3d", params={"lr": 1e-6}, overrides=("lr=1e-06",), seed=1, created_at=0.0)


@pytest.fixture(params=YAMLS, ids=lambda path: path.stem)
def tracker(request: pytest.FixtureRequest) -> Any:
    return instantiate(OmegaConf.load(request.param)["tracking"])


def test_the_metric_file_is_always_logged_for_the_harness_reads_it(tracker: Any) -> None:
    assert "file" in tracker.loggers


def test_the_environment_is_text_and_holds_no_secret(tracker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a-secret-of-forty-characters-0123456789ab")
    environment = tracker.environment(TRIAL, StudyPaths(tmp_path).trial(7).attempt(0), run_id="gsm8k-abc-0007")
    assert all(isinstance(name, str) and isinstance(value, str) for name, value in environment.items())
    assert not any("KEY" in name or "a-secret" in value for name, value in environment.items())


def test_a_run_keeps_its_id_and_group_over_attempts(tmp_path: Path) -> None:
    tracker = wandb_tracker(tags=("ablation",))
    trial = StudyPaths(tmp_path).trial(7)
    first, second = (tracker.environment(TRIAL, trial.attempt(number), run_id="gsm8k-abc-0007") for number in (0, 1))
    assert {first["WANDB_RUN_ID"], second["WANDB_RUN_ID"]} == {"gsm8k-abc-0007"}
    assert first["WANDB_RUN_GROUP"] == second["WANDB_RUN_GROUP"] == "gsm8k"
    assert first["WANDB_DIR"] != second["WANDB_DIR"]
    assert "ablation" in first["WANDB_TAGS"].split(",")


def test_an_unknown_mode_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"tracking\.mode: expected one of offline, online, disabled, got 'on'"):
        wandb_tracker("on")


@pytest.mark.parametrize("site", ["https://wandb.test", "https://wandb.test/"])
def test_a_run_has_a_page_where_its_entity_is_known(site: str) -> None:
    tracker = replace(wandb_tracker(entity="team"), site=site)
    assert tracker.page("gsm8k", "gsm8k-abc-0007") == "https://wandb.test/team/gsm8k/runs/gsm8k-abc-0007"
    assert wandb_tracker().page("gsm8k", "gsm8k-abc-0007") is None

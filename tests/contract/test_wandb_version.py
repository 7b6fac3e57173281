"""What is taken for granted of the installed wandb: where its offline runs lie, what marks one as sent; a new version fails here."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from packaging.requirements import Requirement
from wandb.sdk.lib import urls
from wandb.util import api_to_app_url
from wandb_server import WandbServer

from harness.paths import AttemptPaths
from harness.trackers import wandb_site

ROOT = Path(__file__).parents[2]
CLIENT, WANDB = ROOT / "tests" / "wandb_client.py", Path(sys.executable).with_name("wandb")
HEADER = b":W&B\xe1\xbe\x00"  # of a run's log: its name, a number, the version of its format


def test_every_extra_pins_the_version_that_this_was_tried_with() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    pins = {str(need.specifier) for words in extras.values() for need in map(Requirement, words) if need.name == "wandb"}
    assert pins == {f"=={version('wandb')}"}, "wandb moved: run tests/contract/test_courier.py, then set the pins and this format anew"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    environment = {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "WANDB_RUN_ID": "pinned-0007", "WANDB_SILENT": "true"}
    words = [sys.executable, str(CLIENT), "5", "0", str(tmp_path / "metrics.jsonl")]
    subprocess.run(words, cwd=tmp_path, env=os.environ | environment, check=True, timeout=120)
    (found,) = AttemptPaths(tmp_path).wandb_runs
    return found


def test_an_offline_run_is_one_log_in_a_folder_of_its_own_and_a_marker_keeps_it_from_being_sent_again(run: Path) -> None:
    (log,) = run.glob("*.wandb")
    assert run.name.endswith("-pinned-0007")
    assert log.name == "run-pinned-0007.wandb"
    assert log.read_bytes()[: len(HEADER)] == HEADER
    log.with_suffix(".wandb.synced").touch()
    with WandbServer() as server:
        done = subprocess.run([WANDB, "sync", run.parent], cwd=run, env=os.environ | server.environment, check=True, timeout=120)
        assert (done.returncode, server.store.runs) == (0, {})


@pytest.mark.parametrize(
    "server",
    [
        "https://api.forge.coreweave.com",
        "https://api.wandb.ai",
        "https://api.qa.wandb.ai",
        "https://api.wandb.test",
        "https://api.wandb.example",
        "https://api.training.example",
        "https://wandb.example:8080/",
        "http://127.0.0.1:8080",
    ],
)
def test_pages_are_where_the_client_has_them(server: str) -> None:
    assert wandb_site.pages(server) == api_to_app_url(server).rstrip("/")


def test_runs_go_where_the_client_sends_them(tmp_path: Path) -> None:
    assert urls.DEFAULT_BASE_URL == wandb_site.SERVER == wandb_site.server({}, tmp_path)
    assert wandb_site.hosts(wandb_site.SERVER) == ("api.forge.coreweave.com", urlsplit(urls.forge_upstream_url(wandb_site.SERVER)).netloc)
    assert wandb_site.server({"WANDB_BASE_URL": "https://wandb.example"}, tmp_path) == "https://wandb.example"
    (tmp_path / ".config" / "wandb").mkdir(parents=True)
    (tmp_path / ".config" / "wandb" / "settings").write_text("[default]\nbase_url = https://team.example\n")
    assert wandb_site.server({}, tmp_path) == "https://team.example"

"""The socket by which an engine's trainer hands weights to its vLLM: one for each engine of a host. No vLLM runs here."""

from __future__ import annotations

import importlib.util
import os
import re
import tempfile
from pathlib import Path

import pytest

from harness.command import scratch_folder
from harness.inside.weight_sockets import in_own_folder
from harness.paths import StudyPaths

VERLS = "ipc:///tmp/rl-colocate-zmq-01000000-replica-0-rank-0.sock"
SOURCES = Path("workers/rollout/vllm_rollout")


@pytest.fixture
def engine(monkeypatch):
    """Puts this process into an engine's environment."""

    def enter(number):
        folder = scratch_folder(StudyPaths(Path("outputs/a-study")), number)
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        monkeypatch.setattr(tempfile, "_get_default_tempdir", lambda *_: os.environ["TMPDIR"])  # it need not exist here
        return folder

    return enter


def test_two_engines_never_share_a_socket_and_both_ends_of_one_agree(engine):
    first = engine(0)
    one, again = in_own_folder(VERLS), in_own_folder(VERLS)
    engine(1)
    assert one == again == f"ipc://{first}/rl-colocate-zmq-01000000-replica-0-rank-0.sock"
    assert in_own_folder(VERLS) != one


def test_its_path_is_short_enough_for_a_socket(engine):
    engine(9999)
    longest = VERLS.replace("replica-0-rank-0", "replica-999-rank-999")
    assert len(in_own_folder(longest).removeprefix("ipc://").encode()) < 107


@pytest.mark.skipif(importlib.util.find_spec("verl") is None, reason="needs the cpu extra")
@pytest.mark.parametrize(
    ("file", "seam"),
    [
        ("vllm_rollout.py", r"self\.zmq_handle = f\"ipc:///tmp/rl-colocate-zmq-\{job_id\}"),
        ("vllm_rollout.py", r"zmq_handle=self\.zmq_handle"),
        ("utils.py", r"def _get_zmq_handle\(self\) -> str:"),
        ("utils.py", r"zmq_handle=self\._get_zmq_handle\(\)"),
        ("vllm_async_server.py", r"\"worker_extension_cls\": self\._get_worker_extension_cls\(\)"),
        ("vllm_async_server.py", r"self\.server_class = ray\.remote\(vLLMHttpServer\)"),
    ],
)
def test_verl_still_names_it_where_our_classes_take_hold(file, seam):
    package = Path(importlib.util.find_spec("verl").submodule_search_locations[0])  # found, not imported
    assert re.search(seam, (package / SOURCES / file).read_text())

"""The test server of W&B, used end to end by the real client; and its reader of GraphQL."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from wandb_server import KEY, Drop, Fault, Run, WandbServer
from wandb_server.graphql import NotGraphQL, answer, parse

CLIENT = Path(__file__).parents[1] / "wandb_client.py"
WANDB = Path(sys.executable).with_name("wandb")
IDENTITY = {
    "WANDB_RUN_ID": "gsm8k-abc-0007",
    "WANDB_RESUME": "allow",
    "WANDB_RUN_GROUP": "gsm8k",
    "WANDB_JOB_TYPE": "tuning",
    "WANDB_TAGS": "gsm8k,grpo",
    "WANDB_CONSOLE": "off",
    "WANDB_SILENT": "true",
}
READ = """
import json, sys, wandb
api = wandb.Api()
found = api.runs("tests/tests", filters={"group": "gsm8k", "tags": {"$in": ["grpo"]}})
run = next(iter(found))
print(json.dumps([len(found), run.state, run.tags, run.config, run.summary["critic/rewards/mean"], len(run.history(pandas=False)),
    [row["_step"] for row in run.scan_history()]]))
run.tags = [*run.tags, "read"]
run.update()
"""


def run(*arguments: object, folder: Path, server: WandbServer, **environment: str) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in arguments]
    everything = os.environ | server.environment | IDENTITY | {"WANDB_DIR": str(folder), "HOME": str(folder)} | environment
    return subprocess.run(words, cwd=folder, env=everything, capture_output=True, text=True, timeout=120, check=False)


def train(rows: int, folder: Path, server: WandbServer, exit_code: int = 0, **environment: str) -> None:
    done = run(sys.executable, CLIENT, rows, 0, folder / "metrics.jsonl", exit_code, folder=folder, server=server, **environment)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def server() -> Iterator[WandbServer]:
    with WandbServer() as server:
        yield server


def steps(run: Run) -> list[int]:
    return [row["_step"] for row in run.rows]


def test_a_run_arrives_whole_and_a_later_process_goes_on_with_it(server: WandbServer, tmp_path: Path) -> None:
    train(20, tmp_path, server, exit_code=1)
    found = server.store.run("gsm8k-abc-0007")
    assert (found.state, found.exit_code, found.group, found.job_type) == ("failed", 1, "gsm8k", "tuning")
    assert (found.tags, found.settings["actor"], found.display_name) == (["gsm8k", "grpo"], {"lr": 1e-3}, "trial-0007")
    assert found.summary["critic/rewards/mean"] == 0.19
    train(10, tmp_path, server)
    assert len(server.store.runs) == 1
    assert (found.state, steps(found), found.received["wandb-history.jsonl"]) == ("finished", list(range(30)), 30)
    assert server.store.unknown == {}
    read = run(sys.executable, "-c", READ, folder=tmp_path, server=server)
    assert json.loads(read.stdout) == [1, "finished", ["gsm8k", "grpo"], found.settings, 0.29, 30, list(range(30))]
    assert found.tags == ["gsm8k", "grpo", "read"]
    assert server.store.unknown == {}


def test_an_offline_run_arrives_by_wandb_sync(server: WandbServer, tmp_path: Path) -> None:
    train(20, tmp_path, server, WANDB_MODE="offline")
    assert server.store.runs == {}
    (offline,) = (tmp_path / "wandb").glob("offline-run-*")
    done = run(WANDB, "sync", offline, folder=tmp_path, server=server)
    assert done.returncode == 0, done.stdout + done.stderr
    found = server.store.run("gsm8k-abc-0007")
    assert (found.state, steps(found), found.group, found.tags) == ("finished", list(range(20)), "gsm8k", ["gsm8k", "grpo"])


@pytest.mark.slow
def test_a_stop_request_interrupts_a_plain_client(server: WandbServer, tmp_path: Path) -> None:
    words = [sys.executable, str(CLIENT), "1000", "0.1", str(tmp_path / "metrics.jsonl")]
    environment = os.environ | server.environment | IDENTITY | {"WANDB_DIR": str(tmp_path)}
    with subprocess.Popen(words, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as client:
        while not server.store.runs or not server.store.run("gsm8k-abc-0007").rows:
            time.sleep(0.05)
        server.store.run("gsm8k-abc-0007").stop_requested = True
        assert "KeyboardInterrupt" in client.communicate(timeout=60)[1]


@pytest.mark.slow
def test_a_dropped_answer_costs_no_row(server: WandbServer, tmp_path: Path) -> None:
    server.faults.set(Fault(drop=Drop.AFTER, path="file_stream", times=1))
    train(20, tmp_path, server)
    assert steps(server.store.run("gsm8k-abc-0007")) == list(range(20))


def ask(server: WandbServer, path: str, body: object, key: str = KEY) -> int:
    headers = {"Authorization": f"Basic {base64.b64encode(f'api:{key}'.encode()).decode()}"}
    request = urllib.request.Request(server.url + path, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_faults_hold_for_the_paths_and_the_number_that_they_name(server: WandbServer) -> None:
    viewer = {"query": "{ viewer { id } }"}
    server.faults.set(Fault(status=429, path="graphql", times=2))
    assert [ask(server, "/graphql", viewer) for _ in range(3)] == [429, 429, 200]
    server.faults.set(Fault(status=500, path="file_stream"))
    assert ask(server, "/graphql", viewer) == 200
    assert [ask(server, "/files/tests/tests/a/file_stream", {}) for _ in range(3)] == [500, 500, 500]


def test_only_its_own_key_is_let_in_and_it_comes_back_with_what_it_knew(server: WandbServer) -> None:
    assert ask(server, "/files/tests/tests/a/file_stream", {}) == 200
    assert ask(server, "/files/tests/tests/b/file_stream", {}, key="another") == 401
    server.go()
    with pytest.raises(urllib.error.URLError):
        ask(server, "/graphql", {})
    server.come()
    assert ask(server, "/graphql", {"query": "{ viewer { id } }"}) == 200
    assert [run.name for run in server.store.runs.values()] == ["a"]


def test_a_view_is_made_once_and_updated_by_its_id(server: WandbServer) -> None:
    upsert = "mutation upsertView($id: ID, $spec: String!) { upsertView(input: {id: $id, spec: $spec}) { view { id } inserted } }"
    assert ask(server, "/graphql", {"query": upsert, "variables": {"spec": "{}"}}) == 200
    (view,) = server.store.views.values()
    assert ask(server, "/graphql", {"query": upsert, "variables": {"id": view.id, "spec": '{"a": 1}'}}) == 200
    assert [one.spec for one in server.store.views.values()] == ['{"a": 1}']


DOCUMENT = """
# a comment
query Runs($first: Int = 2, $name: String!, $full: Boolean!) {
  found: project(name: $name) { ...Parts, runs(first: $first) { name @include(if: $full) nothing } }
}
fragment Parts on Project { __typename ... on Project { id } }
"""


def test_graphql_knows_aliases_fragments_defaults_and_directives() -> None:
    unknown: list[str] = []
    root = {"project": lambda name: {"id": name.upper(), "runs": lambda first: [{"name": str(index)} for index in range(first)]}}
    told = answer(parse(DOCUMENT), root, {"name": "p", "full": True}, unknown.append)
    assert told == {"found": {"__typename": None, "id": "P", "runs": [{"name": "0", "nothing": None}, {"name": "1", "nothing": None}]}}
    assert unknown == ["nothing", "nothing"]
    assert "name" not in answer(parse(DOCUMENT), root, {"name": "p", "full": False}, unknown.append)["found"]["runs"][0]
    with pytest.raises(NotGraphQL):
        parse("query { viewer { id }")

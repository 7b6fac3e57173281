"""Real verl through the engine's protocol of folders: an attempt that trains to its end, and one that is asked to stop."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import command, records
from harness.engine import Assignment
from harness.inside import prepare
from harness.paths import AttemptPaths, EnginePaths, StudyPaths
from harness.types import AttemptResult, Limits, Reason, RunState, Slot, StopRequest, TrialSpec

pytestmark = [pytest.mark.verl, pytest.mark.skipif(importlib.util.find_spec("verl") is None, reason="needs the cpu extra")]

ROOT = Path(__file__).parents[2]
GROUPS = ("algorithm/grpo", "engine/fsdp2", "rollout/hf", "policy/tiny", "task/chain_sum", "resources/cpu")
OURS = ("paths", "policy", "task", "resources", "objective")
PATIENCE_S = 150


@pytest.fixture(scope="module")
def assets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("assets")
    for kind, maker in (("task", "chain_sum"), ("policy", "tiny")):
        made = subprocess.run(
            [sys.executable, "-m", prepare.__name__, kind, maker, str(folder / kind / maker)], cwd=ROOT, timeout=PATIENCE_S
        )
        assert made.returncode == 0
    return folder


class Rig:
    """One study folder with one trial and one engine; the test plays the supervisor."""

    def __init__(self, folder: Path, assets: Path) -> None:
        self.study = StudyPaths(folder / "rig")
        self.attempt: AttemptPaths = self.study.trial(0).attempt(0)
        self.engine: EnginePaths = self.study.engine(0)
        self.assets = assets

    def start(self, *overrides: str) -> subprocess.Popen[bytes]:
        trial = TrialSpec(study="rig", number=0, configuration="rig", params={}, overrides=overrides, seed=1, created_at=time.time())
        engine = command.engine_spec(
            self.study, 0, Slot(index=0), "harness.inside.engine", limits=Limits(), structure="rig", serves=1, threads=1, environment={}
        )
        attempt = command.attempt_spec(
            trial,
            self.attempt,
            self.config(*overrides),
            run_id="rig-0000",
            tracking={"WANDB_MODE": "offline", "WANDB_RUN_ID": "rig-0000", "WANDB_DIR": str(self.attempt.root), "WANDB_SILENT": "true"},
            loggers=("console", "file", "wandb"),
            scratch=engine.scratch,
            object_store_mib=512,
        )
        self.attempt.root.mkdir(parents=True)
        self.engine.inbox.mkdir(parents=True)
        records.write(self.attempt.spec, attempt)
        records.write(self.engine.command, engine)
        records.write(self.engine.assignment(0), Assignment(attempt=str(self.attempt.root)))
        with self.engine.log.open("wb") as log:
            return subprocess.Popen(engine.argv, env={**os.environ, **engine.environment}, cwd=ROOT, stdout=log, stderr=log)

    def config(self, *overrides: str) -> dict:
        from omegaconf import OmegaConf

        verl = Path(importlib.util.find_spec("verl").origin).parent / "trainer/config/_generated_ppo_trainer.yaml"
        options = [OmegaConf.load(ROOT / f"conf/{group}.yaml") for group in GROUPS]
        tree = OmegaConf.merge(
            OmegaConf.load(verl), *options, {"paths": {"assets": str(self.assets)}}, OmegaConf.from_dotlist(list(overrides))
        )
        return {key: value for key, value in OmegaConf.to_container(tree, resolve=True).items() if key not in OURS}

    def rows(self) -> dict[int, dict[str, float]]:
        """Step -> metrics."""
        rows: dict[int, dict[str, float]] = {}
        for line in records.whole_lines(self.attempt.metrics, 0)[0]:
            row = json.loads(line)
            rows.setdefault(row["step"], {}).update(row["data"])
        return rows

    def events(self) -> list[str]:
        return [event.name for event in records.events(self.attempt.events)]

    def result(self) -> AttemptResult:
        return records.read(self.attempt.result, AttemptResult)

    def wandb_bytes(self) -> bytes:
        (run,) = self.attempt.wandb_runs
        return next(run.glob("*.wandb")).read_bytes()


@pytest.fixture
def rig(tmp_path, assets):
    return Rig(tmp_path, assets)


def test_attempt_trains_with_the_actors_own_weights_and_succeeds(rig):
    engine = rig.start("steps=3", "batch_size=8", "rollout_n=4", "lr=1e-3", "trainer.test_freq=3")
    assert engine.wait(PATIENCE_S) == 0, rig.engine.log.read_text()[-3000:]
    result, rows = rig.result(), rig.rows()
    assert (result.state, result.reason, result.steps) == (RunState.SUCCEEDED, Reason.FINISHED, 3)
    assert sorted(rows) == [0, 1, 2, 3]
    assert all(rows[step]["training/rollout_actor_probs_pearson_corr"] > 0.99 for step in (1, 2, 3))
    assert rows[1]["actor/kl_loss"] == 0
    assert rows[3]["actor/kl_loss"] > 0
    assert {step for step in rows if "val-core/chain_sum/acc/mean@1" in rows[step]} == {0, 3}
    assert [name for name in rig.events() if name in ("accepted", "rollout", "training")] == ["accepted", "rollout", "training"]
    assert b"succeeded" in rig.wandb_bytes().lower()
    assert "Traceback" not in rig.engine.log.read_text()


def test_stop_request_ends_the_attempt_at_a_step_and_closes_its_run(rig):
    engine = rig.start("steps=500", "batch_size=8", "rollout_n=2", "trainer.val_before_train=false")
    patience = time.monotonic() + PATIENCE_S
    while 2 not in rig.rows() and time.monotonic() < patience:
        assert engine.poll() is None, rig.engine.log.read_text()[-3000:]
        time.sleep(0.1)
    request = StopRequest(reason=Reason.PRUNED, message="worse than the median at step 2", requested_at=time.time(), grace_s=30)
    records.write(rig.attempt.stop, request)
    assert engine.wait(30) == 0, rig.engine.log.read_text()[-3000:]
    result = rig.result()
    assert (result.state, result.reason, result.message) == (RunState.STOPPED, Reason.PRUNED, request.message)
    assert 2 <= result.steps == max(rig.rows()) < 500
    assert result.ended_at - request.requested_at < 15
    assert exit_codes(rig.wandb_bytes()) == [0]
    assert all(word in rig.wandb_bytes() for word in (b"pruned", b"harness/state", b"STOPPED"))


def exit_codes(log: bytes) -> list[int]:
    """Of the exit records in a W&B run's log. The format is LevelDB's: blocks of 32 KiB with records of checksum, length, type, data."""
    from wandb.proto import wandb_internal_pb2

    codes, whole, place = [], b"", 7  # behind the file's own header
    while place + 7 <= len(log):
        if (room := 32768 - place % 32768) < 7:
            place += room
            continue
        length, part = int.from_bytes(log[place + 4 : place + 6], "little"), log[place + 6]
        whole += log[place + 7 : place + 7 + length]
        place += 7 + length
        if part in (1, 4):  # a whole record, or its last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            if record.WhichOneof("record_type") == "exit":
                codes.append(record.exit.exit_code)
            whole = b""
    return codes

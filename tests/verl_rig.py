"""Real verl through the engine's protocol of folders: attempts are handed to an engine, and the test plays controller and supervisor."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from harness import command, processes, records
from harness.engine import Assignment
from harness.inside import prepare
from harness.lines import LineReader
from harness.paths import AttemptPaths, EnginePaths, StudyPaths
from harness.types import AttemptResult, AttemptSpec, Limits, Reason, Slot, StopRequest, TrialSpec
from sweeps.composed import CONF
from sweeps.config import trainer_config

ROOT = Path(__file__).parents[1]
CHOSEN = ("engine=fsdp2", "rollout=hf", "task=chain_sum", "resources=cpu")
NEVER = "trainer.test_freq=-1"  # validated, where a test does not ask for it
PATIENCE_S = 150
NOT_TRAINING = ("timing", "perf/", "actor/perf", "critic/perf")  # prefixes of metrics that tell of the machine
# How far the rollout's probabilities lie from the actor's: a generation batch that a slow moment split in two changes their last bits. They
# are recomputed before training, so nothing follows from them.
DIAGNOSTICS = ("training/rollout_", "rollout_corr/")


def make_assets(folder: Path) -> Path:
    """The tiny policy and its task."""
    for kind, maker in (("task", "chain_sum"), ("policy", "tiny")):
        subprocess.run(
            [sys.executable, "-m", prepare.__name__, kind, maker, str(folder / kind / maker)], cwd=ROOT, timeout=PATIENCE_S, check=True
        )
    return folder


class RigAttempt:
    """One attempt's folder, read."""

    def __init__(self, paths: AttemptPaths) -> None:
        self.paths = paths

    def rows(self) -> dict[int, dict[str, float]]:
        """Step -> metrics."""
        rows: dict[int, dict[str, float]] = {}
        if self.paths.metrics.exists():
            for line in LineReader(self.paths.metrics).new_lines():
                row = json.loads(line)
                rows.setdefault(row["step"], {}).update(row["data"])
        return rows

    def training(self) -> dict[int, dict[str, float]]:
        """The rows without what tells of the machine rather than of the training, and without diagnostics."""
        apart = (*NOT_TRAINING, *DIAGNOSTICS)
        return {
            step: {name: value for name, value in row.items() if not name.startswith(apart) and "mfu" not in name}
            for step, row in self.rows().items()
        }

    def equals(self, other: RigAttempt, *, after: int = 0) -> bool:
        """Whether both trained the same, bit by bit, from step `after` on; diagnostics may differ by 1e-4."""
        steps = sorted(step for step in other.rows() if step > after)
        assert sorted(self.rows()) == steps
        for step in steps:
            mine, theirs = self.rows()[step], other.rows()[step]
            for name in mine.keys() | theirs.keys():
                if name.startswith(DIAGNOSTICS):
                    assert abs(mine[name] - theirs[name]) < 1e-4, (step, name, mine[name], theirs[name])
        return self.training() == {step: row for step, row in other.training().items() if step > after}

    def events(self) -> list[str]:
        return [event.name for event in records.events(self.paths.events)]

    def event(self, name: str) -> Any:
        return next(event for event in records.events(self.paths.events) if event.name == name)

    def result(self) -> AttemptResult:
        return records.read(self.paths.result, AttemptResult)

    def wandb_bytes(self) -> bytes:
        (run,) = self.paths.wandb_runs
        return next(run.glob("*.wandb")).read_bytes()


class Rig:
    """One engine of a study."""

    def __init__(
        self, folder: Path, assets: Path, *, serves: int = 1, algorithm: str = "grpo", policy: str = "tiny", number: int = 0
    ) -> None:
        self.study = StudyPaths(folder / "rig")
        self.paths: EnginePaths = self.study.engine(number)
        self.assets, self.algorithm, self.policy = assets, algorithm, policy
        self.spec = command.engine_spec(
            self.study,
            number,
            Slot(index=0),
            "harness.inside.engine",
            limits=Limits(),
            structure="rig",
            serves=serves,
            growth=1.0,
            threads=1,
            preload=True,
            environment={},
        )
        self.paths.inbox.mkdir(parents=True)
        records.write(self.paths.command, self.spec)
        self.process: subprocess.Popen[bytes] | None = None
        self.handed_over = 0

    def give(self, *overrides: str, trial: int | None = None) -> RigAttempt:
        """Hands an attempt over, of a new trial or a further one of `trial`; starts the engine with the first."""
        number = len(self.study.trials()) if trial is None else trial
        paths = self.study.trial(number)
        attempt = paths.attempt(len(paths.attempts()) if paths.root.exists() else 0)
        spec = TrialSpec(study="rig", number=number, configuration="rig", params={}, overrides=overrides, seed=1, created_at=time.time())
        run_id = f"rig-{number:04d}"
        attempt_spec = command.attempt_spec(
            spec,
            attempt,
            self.config(*overrides),
            run_id=run_id,
            tracking={
                "WANDB_MODE": "offline",
                "WANDB_RUN_ID": run_id,
                "WANDB_RESUME": "allow",
                "WANDB_DIR": str(attempt.root),
                "WANDB_SILENT": "true",
            },
            loggers=("console", "file", "wandb"),
            scratch=self.spec.scratch,
            object_store_mib=512,
        )
        offset = self.paths.log.stat().st_size if self.paths.log.exists() else 0
        attempt.root.mkdir(parents=True)
        records.append(attempt.events, "rig", "given_slot", log_offset=offset)
        self._hand_over(attempt, attempt_spec)
        return RigAttempt(attempt)

    def stand_by(self, *overrides: str) -> None:
        """Starts the engine with this configuration and no trial; returns when it is ready."""
        self.paths.warm_up.root.mkdir()
        self._hand_over(self.paths.warm_up, command.warm_up_spec(self.paths, self.config(*overrides), object_store_mib=512))
        self.wait(self.paths.warm_up.result.exists)

    def _hand_over(self, attempt: AttemptPaths, spec: AttemptSpec) -> None:
        records.write(attempt.spec, spec)
        records.write(self.paths.assignment(self.handed_over), Assignment(attempt=str(attempt.root)))
        self.handed_over += 1
        if self.process is None:
            self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.paths.log.open("wb") as log:
            return subprocess.Popen(self.spec.argv, env={**os.environ, **self.spec.environment}, cwd=ROOT, stdout=log, stderr=log)

    def train(self, *overrides: str, trial: int | None = None) -> RigAttempt:
        """Waits for the attempt's end."""
        attempt = self.give(*overrides, trial=trial)
        self.wait(attempt.paths.result.exists)
        return attempt

    def stop(self, attempt: RigAttempt, reason: Reason = Reason.PRUNED) -> StopRequest:
        request = StopRequest(reason=reason, message="worse than the median", requested_at=time.time(), grace_s=30)
        records.write(attempt.paths.stop, request)
        return request

    def wait(self, happened: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
        assert self.process is not None
        deadline = time.monotonic() + patience_s
        while not happened():
            ended = self.process.poll() is not None
            assert happened() or (not ended and time.monotonic() < deadline), self.log()[-3000:]
            time.sleep(0.05)

    def leave(self) -> int:
        """Asks the engine to end; its exit status."""
        self.paths.leave.touch()
        assert self.process is not None
        return self.process.wait(PATIENCE_S)

    def log(self) -> str:
        return self.paths.log.read_text()

    def usage(self) -> dict[str, int]:
        """What the engine's processes use together: private and shared memory in MiB, threads, descriptors, files in /dev/shm."""
        used = dict.fromkeys(("private", "shared", "threads", "descriptors", "shm_files"), 0)
        for process in processes.descendants(self.spec.engine):
            with contextlib.suppress(OSError, psutil.Error):
                status = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
                used["private"] += int(status["RssAnon"].split()[0]) // 1024
                used["shared"] += int(status["RssShmem"].split()[0]) // 1024
                used["threads"] += process.num_threads()
                used["descriptors"] += process.num_fds()
        used["shm_files"] = len(list(Path("/dev/shm").iterdir()))
        return used

    def config(self, *overrides: str) -> dict[str, Any]:
        """verl's resolved tree, as the controller composes it."""
        chosen = (f"algorithm={self.algorithm}", f"policy={self.policy}", *CHOSEN, f"paths.assets={self.assets}", NEVER)
        GlobalHydra.instance().clear()
        try:
            with initialize_config_dir(str(CONF), version_base="1.3"):
                return trainer_config(compose("config", overrides=[*chosen, *overrides]))
        finally:
            GlobalHydra.instance().clear()


def exit_codes(log: bytes) -> list[int]:
    """Of the exit records in a W&B run's log."""
    return [record.exit.exit_code for record in wandb_records(log) if record.WhichOneof("record_type") == "exit"]


def wandb_steps(log: bytes) -> list[int]:
    """Of the history in a W&B run's log, in order."""
    return [record.history.step.num for record in wandb_records(log) if record.WhichOneof("record_type") == "history"]


def wandb_records(log: bytes) -> Iterator[Any]:
    """The format is LevelDB's: blocks of 32 KiB with records of checksum, length, type, data."""
    from wandb.proto import wandb_internal_pb2

    whole, place = b"", 7  # behind the file's own header
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
            yield record
            whole = b""

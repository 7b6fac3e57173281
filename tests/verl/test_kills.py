"""Whenever a real verl engine is killed, and however, nothing of it is left, its neighbour does not notice, and the next one trains."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import commands
import psutil
import pytest
from verl_rig import PATIENCE_S, ROOT, Rig, RigAttempt, make_assets

from harness import cgroups, checkpoints, processes, records
from harness.paths import EnginePaths, StudyPaths
from harness.types import AttemptResult, EngineSpec, Lease, Limits, Reason, RunState, Slot, StopRequest

pytestmark = [pytest.mark.verl, pytest.mark.timeout(600)]

X = ("batch_size=8", "lr=1e-3", "kl_coef=1e-3", "rollout_n=4", "trainer.val_before_train=false")
ENDLESS = (*X, "steps=500")
STOP, SUPERVISOR, ROOT_PROCESS = "stop request", "SIGKILL to the supervisor", "SIGKILL to the engine"
# Phase -> the event after which it begins, and what the attempt is to do; the first ones end before there is a training.
START = {"imports": "accepted", "Ray's start": "imported", "models": "processes", "rollout's start": "models", "agent loops": "workers"}
TRAINING = {
    "generation": ("training", ()),
    "training step": ("training", ("actor_rollout_ref.actor.ppo_epochs=50",)),
    "validation": ("handed_over", ("trainer.val_before_train=true",)),
    "checkpoint": ("saving", ("trainer.save_freq=1",)),
}
ALL = (
    *((phase, STOP) for phase in (*START, *TRAINING)),
    ("models", SUPERVISOR),
    ("generation", SUPERVISOR),
    ("Ray's start", ROOT_PROCESS),
    ("generation", ROOT_PROCESS),
    ("checkpoint", ROOT_PROCESS),
)


# Four processes in two sessions, with a port.
SLEEPS = """
import os, socket, time
kept = socket.create_server(("127.0.0.1", 0))
os.fork()
if os.fork() == 0:
    os.setsid()
time.sleep(9e9)
"""


class Supervised(Rig):
    """An engine beside which the product's own supervisor stands."""

    def _start(self) -> subprocess.Popen[bytes]:
        with self.paths.log.open("ab") as log:
            argv = [sys.executable, "-m", "harness.supervisor", str(self.paths.root)]
            return subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


@dataclass(frozen=True, kw_only=True)
class Held:
    """What an engine holds of the host."""

    pids: dict[int, float]  # -> when it was started
    files: set[str]
    listening: set[str]  # inodes of sockets
    group: Path | None


@dataclass(frozen=True, kw_only=True)
class Killed:
    phase: str
    means: str
    attempt: RigAttempt
    held: Held
    seconds: float  # until nothing was left by the supervisor's own word
    left: list[str]

    def row(self) -> str:
        held = self.held
        seen = f"{len(held.pids)} processes, {len(held.listening)} ports, {len(held.files)} files"
        return f"| {self.phase} | {self.means} | {seen} | {self.seconds:.1f} | {len(self.left)} |"


def held_by(engine: EnginePaths) -> Held:
    spec = records.read(engine.command, EngineSpec)
    group = next((event.data["group"] for event in records.events(engine.events) if event.name == "started"), None)
    # Not `processes.members`, to which whatever this process has started belongs too: the neighbour, for one.
    found = list(_living({*commands.carriers(spec.engine), *cgroups.pids(Path(group) if group else None)}))
    sockets: set[str] = set()
    for process in found:
        for descriptor in _descriptors(process.pid):
            if descriptor.startswith("socket:["):
                sockets.add(descriptor[8:-1])
    return Held(
        pids={process.pid: process.create_time() for process in found},
        files=processes.shared_files(found),
        listening=sockets & listening(),
        group=Path(group) if group else None,
    )


def _living(pids: Iterable[int]) -> Iterator[psutil.Process]:
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            yield psutil.Process(pid)  # which knows from now on when it was started


def _descriptors(pid: int) -> Iterator[str]:
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                yield str(descriptor.readlink())
            except OSError:
                continue
    except OSError:
        return


def listening() -> set[str]:
    """Inodes of all sockets of this host that wait for connections."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {fields[9] for fields in lines if fields[3] == "0A"}


def left_of(engine: EnginePaths, held: Held) -> list[str]:
    """Survivors first, then what they would have left behind; zombies but for those that init has still to bury."""
    spec = records.read(engine.command, EngineSpec)
    left = [f"process {pid}" for pid in commands.carriers(spec.engine)]
    for pid, started in held.pids.items():
        try:
            process = psutil.Process(pid)
            if process.create_time() == started and process.ppid() != 1:
                left.append(f"process {pid} ({process.status()})")
        except psutil.NoSuchProcess:
            continue
    left += [f"file {file}" for file in held.files if Path(file).exists()]
    left += [f"socket {inode}" for inode in held.listening & listening()]
    left += [f"folder {path}" for path in (spec.scratch, held.group) if path is not None and Path(path).exists()]
    return left


def kill(rig: Supervised, attempt: RigAttempt, phase: str, means: str) -> Killed:
    """Waits for the phase, ends the attempt in it, and waits for the engine's end."""
    event = START[phase] if phase in START else TRAINING[phase][0]
    rig.wait(lambda: event in attempt.events())
    if phase == "training step":
        time.sleep(2)  # generation is over: fifty epochs of training take longer
    elif phase in START:
        time.sleep(0.1 if event == "models" else 0.5)  # the rollout of a tiny policy starts in a second
    held = held_by(rig.paths) if phase != "checkpoint" else None  # which is over sooner than it takes to look
    began = time.monotonic()
    if means == STOP:
        records.write(
            attempt.paths.stop, StopRequest(reason=Reason.USER, message="killed by a test", requested_at=time.time(), grace_s=0.0)
        )
    else:
        started = next(event.data["pid"] for event in records.events(rig.paths.events) if event.name == "started")
        os.kill(records.read(rig.paths.lease, Lease).pid if means == SUPERVISOR else started, signal.SIGKILL)
    held = held or held_by(rig.paths)
    assert rig.process is not None
    rig.process.wait(PATIENCE_S)
    if means == SUPERVISOR:  # as whoever finds it dead does
        rig.process = rig._start()
        rig.process.wait(PATIENCE_S)
    seconds = time.monotonic() - began
    assert rig.paths.ended.exists()
    return Killed(phase=phase, means=means, attempt=attempt, held=held, seconds=seconds, left=left_of(rig.paths, held))


@dataclass(frozen=True)
class Neighbour:
    """A stand-in engine on the same host that sleeps, holds a port, and is to go on with that."""

    engine: str
    paths: EnginePaths
    supervisor: subprocess.Popen[bytes]

    def alive(self) -> dict[int, float]:
        found = (psutil.Process(pid) for pid in commands.carriers(self.engine))
        return {process.pid: process.create_time() for process in found}


@pytest.fixture
def neighbour(tmp_path: Path) -> Iterator[Neighbour]:
    paths = StudyPaths(tmp_path / "neighbour").engine(0)
    paths.inbox.mkdir(parents=True)
    spec = EngineSpec(
        engine=f"neighbour-{os.getpid()}",
        slot=Slot(index=1),
        argv=(sys.executable, "-c", SLEEPS),
        environment={},
        scratch=str(tmp_path / "neighbours"),
        limits=Limits(),
        fingerprint="0",
        serves=1,
    )
    records.write(paths.command, spec)
    supervisor = subprocess.Popen([sys.executable, "-m", "harness.supervisor", str(paths.root)], start_new_session=True)
    commands.wait_until(lambda: len(commands.carriers(spec.engine)) == 4)
    yield Neighbour(spec.engine, paths, supervisor)
    supervisor.terminate()
    supervisor.wait(PATIENCE_S)
    assert commands.carriers(spec.engine) == []


def campaign(folder: Path, kills: Sequence[tuple[str, str]], neighbour: Neighbour, *, prove_last: bool) -> None:
    """Each killed trial is trained to its end by the next engine, which is then, if the next kill is of a training, killed itself."""
    assets = make_assets(folder / "assets")
    before, neighbours = neighbour.alive(), held_by(neighbour.paths)
    rows = ["| phase | means | it held | s to its end | left |", "| --- | --- | --- | --- | --- |"]
    rig: Supervised | None = None
    number, left = 0, []
    for phase, means in kills:
        if phase in START and rig is not None:
            rig.leave()
            rig = None
        if rig is None:
            rig, number = Supervised(folder, assets, serves=9, number=number), number + 1
            if phase in TRAINING:
                rig.train(*X, "steps=1")
        attempt = rig.give(*ENDLESS, *(TRAINING[phase][1] if phase in TRAINING else ()))
        killed = kill(rig, attempt, phase, means)
        rows.append(killed.row())
        print(rows[-1], flush=True)
        left += [f"{phase}, {means}: {what}" for what in killed.left]
        result = attempt.result()
        assert result.state is (RunState.STOPPED if means == STOP else RunState.FAILED), result
        assert neighbour.alive() == before
        if (phase, means) == kills[-1] and not prove_last:
            break
        rig, number = Supervised(folder, assets, serves=9, number=number), number + 1
        assert_goes_on(rig, attempt)
    if rig is not None and rig.process is not None and rig.process.poll() is None:
        rig.leave()
    assert neighbour.alive() == before
    assert held_by(neighbour.paths).listening == neighbours.listening
    assert left == []
    print("\n".join(rows))


def assert_goes_on(rig: Supervised, attempt: RigAttempt) -> None:
    """The trial that was killed, trained by another engine from its last whole checkpoint to one step more."""
    trial = attempt.paths.trial
    saved = max((found.step for found in checkpoints.complete(trial.checkpoints)), default=0)
    again = rig.train(*X, f"steps={saved + 1}", trial=trial.number)
    result: AttemptResult = again.result()
    assert (result.state, sorted(again.rows())) == (RunState.SUCCEEDED, [saved + 1]), result


@pytest.mark.slow
def test_a_generation_that_is_killed_leaves_nothing(tmp_path: Path, neighbour: Neighbour) -> None:
    campaign(tmp_path, [("generation", ROOT_PROCESS)], neighbour, prove_last=False)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_so_it_is_in_every_phase_and_by_every_means(tmp_path: Path, neighbour: Neighbour) -> None:
    campaign(tmp_path, ALL, neighbour, prove_last=True)

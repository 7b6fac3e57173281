"""Stands beside one engine and outlives the controller: starts it, keeps its limits, ends its whole tree, writes what it could not.

`python -m harness.supervisor <engine folder>`. It speaks by files alone and never decides which trial deserves to live. A second one for
the same engine ends at once while the first lives; after it, it cleans up.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import cgroups, gpus, processes, records
from harness.engine import Assignment, was_taken
from harness.paths import AttemptPaths, EnginePaths
from harness.types import AttemptResult, EngineResult, EngineSpec, Limits, Reason, RunState, StopRequest

POLL_S = 0.2  # the engine's end wakes it at once
FIRST_LOOK_S, SHARED_S = 1.0, 30.0
NOT_INHERITED = (
    "RAY_ADDRESS",  # it would lead into another's cluster
    "CUDA_VISIBLE_DEVICES",  # the slot says which
)
LEAVE_S = 20.0  # for an engine that has nothing left to serve to end by itself


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Why the running attempt has to end by force."""

    state: RunState
    reason: Reason
    message: str


@dataclass(slots=True)
class Watch:
    """What is known of the running attempt; times are monotonic."""

    paths: AttemptPaths
    since: float
    sizes: tuple[int, int] = (0, 0)  # of metrics.jsonl and of the engine's log
    heard: float = 0.0
    asked: float | None = None
    request: StopRequest | None = None

    def observe(self, now: float, log: Path) -> None:
        """Looks for new metrics, new log lines and a stop request."""
        sizes = (_size(self.paths.metrics), _size(log))
        if sizes != self.sizes or not self.heard:
            self.sizes, self.heard = sizes, now
        if self.request is None and self.paths.stop.exists():
            self.request, self.asked = records.read(self.paths.stop, StopRequest), now


def verdict(watch: Watch, limits: Limits, now: float) -> Verdict | None:
    """Whether the attempt has outstayed a limit; pure."""
    if watch.request is not None and watch.asked is not None:
        if now - watch.asked < watch.request.grace_s:
            return None
        return Verdict(state=RunState.STOPPED, reason=watch.request.reason, message=watch.request.message)
    age, silence = now - watch.since, now - watch.heard
    if limits.wall_s and age > limits.wall_s:
        return Verdict(state=RunState.FAILED, reason=Reason.TIMEOUT, message=f"ran for more than its limit of {limits.wall_s:g} s")
    if limits.startup_s and not watch.sizes[0] and age > limits.startup_s:
        return Verdict(state=RunState.FAILED, reason=Reason.STALLED, message=f"no metric in its first {limits.startup_s:g} s")
    if limits.silence_s and silence > limits.silence_s:
        return Verdict(state=RunState.FAILED, reason=Reason.STALLED, message=f"no metric and no log line for {limits.silence_s:g} s")
    return None


@dataclass(slots=True)
class Supervisor:
    """One engine's life."""

    paths: EnginePaths
    spec: EngineSpec
    served: int = 0
    watch: Watch | None = None
    nothing_left: float | None = None
    ended_by_user: bool = False
    group: Path | None = None  # the engine's control group
    near: frozenset[int] = frozenset()  # processors next to its GPUs, to which the engine is kept; empty: any
    shared: set[str] = field(default_factory=set)
    oom_kills: int = 0  # of the host, before the engine started
    next_look: float = 0.0

    def run(self) -> None:
        """Supervises the engine, or cleans up after a supervisor that died; returns at once where another one lives."""
        with self.paths.lock.open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return
            if self.paths.ended.exists():
                return
            processes.adopt_orphans()
            signal.signal(signal.SIGTERM, self._on_sigterm)
            late = self.paths.lease.exists()
            records.replace(self.paths.lease, processes.my_lease())
            if late:
                self._clean_up()
            else:
                self._live()

    def _live(self) -> None:
        self.oom_kills = processes.oom_kills()
        engine = self._start()
        try:
            ruling = self._supervise(engine)
        finally:
            killed = processes.end_tree(
                self.spec.engine, engine.pid, group=self.group, term_grace_s=self.spec.limits.term_grace_s, log=self.event
            )
            code = engine.wait()
        processes.sweep(self.shared)  # of processes that had ended before
        self._conclude(ruling, code)
        self._end(code, killed)

    def _clean_up(self) -> None:
        """What is left of the engine has nobody to follow it: it ends, and an attempt that it had taken is lost."""
        self.event("supervisor_lost")
        groups = [event.data.get("group") for event in records.events(self.paths.events) if event.name == "started"]
        self.group = Path(groups[-1]) if groups and groups[-1] else None
        killed = processes.end_tree(self.spec.engine, None, group=self.group, term_grace_s=0.0, log=self.event)
        shared = [event.data["files"] for event in records.events(self.paths.events) if event.name == "shared"]
        processes.sweep({file for files in shared for file in files})
        for path in self.paths.assignments():
            attempt = records.read(path, Assignment).attempt
            if attempt is None:
                break
            self.watch = Watch(AttemptPaths(Path(attempt)), since=0.0)
            if not self.watch.paths.result.exists():
                if not was_taken(self.watch.paths):
                    break  # whoever handed it over finds another engine
                self._write_result(Verdict(state=RunState.FAILED, reason=Reason.LOST, message="its supervisor died"), None, forced=True)
            self.served += 1
        self._end(None, killed)

    def _end(self, code: int | None, killed: int) -> None:
        shutil.rmtree(self.spec.scratch, ignore_errors=True)
        oom_kills = processes.oom_kills() - self.oom_kills if code is not None else 0
        self.event("ended", exit_code=code, killed=killed, served=self.served, oom_kills=oom_kills)
        result = EngineResult(exit_code=code, killed=killed, served=self.served, ended_at=time.time(), oom_kills=oom_kills)
        records.write(self.paths.ended, result)

    def event(self, name: str, **data: Any) -> None:
        records.append(self.paths.events, "supervisor", name, **data)

    def _start(self) -> subprocess.Popen[bytes]:
        Path(self.spec.scratch).mkdir(parents=True, exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
        # Temporary files go with the engine; what torch compiles is for the next one too, and would lie among them.
        environment.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"torchinductor_{os.getuid()}"))
        environment |= self.spec.environment | {processes.COOKIE: self.spec.engine, "TMPDIR": self.spec.scratch}
        self.group = cgroups.make(self.spec.engine)
        self.near = gpus.near_cpus(self.spec.slot.gpus)
        with self.paths.log.open("ab") as log:
            engine = subprocess.Popen(
                self.spec.argv,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=self._enter,  # noqa: PLW1509 (this process has one thread)
            )
        self.event(
            "started", pid=engine.pid, slot=self.spec.slot.name, group=str(self.group) if self.group else None, cpus=sorted(self.near)
        )
        return engine

    def _enter(self) -> None:
        """In the engine's process, before it is the engine."""
        processes.die_with_parent()
        if self.group is not None:
            cgroups.enter(self.group)
        if self.near:
            os.sched_setaffinity(0, self.near)

    def _supervise(self, engine: subprocess.Popen[bytes]) -> Verdict | None:
        """Returns when the engine has ended by itself (None) or has to be ended."""
        while engine.poll() is None:
            now = time.monotonic()
            self._follow(now)
            if self.watch is not None and (ruling := verdict(self.watch, self.spec.limits, now)):
                self.event("force", reason=ruling.reason, message=ruling.message)
                return ruling
            if self.ended_by_user or (self.nothing_left is not None and now - self.nothing_left > LEAVE_S):
                self.event("force", reason="nothing left to serve" if not self.ended_by_user else "SIGTERM to the supervisor")
                return Verdict(state=RunState.STOPPED, reason=Reason.INTERRUPTED, message="the supervisor was asked to end")
            processes.reap(spare=engine.pid)
            self._note_shared(now)
            processes.wait_for_end(engine.pid, POLL_S)
        self._follow(time.monotonic())
        return None

    def _note_shared(self, now: float) -> None:
        """For whoever cleans up after this process: who has mapped a file of the shared memory is known only while they live."""
        if now < self.next_look:
            return
        self.next_look = now + (SHARED_S if self.next_look else FIRST_LOOK_S)
        files = processes.shared_files(processes.members(self.spec.engine, self.group))
        if new := sorted(files - self.shared):
            self.shared |= files
            self.event("shared", files=new)

    def _follow(self, now: float) -> None:
        """Moves on to the attempt that is being served: an engine may have ended several since the last look."""
        while True:
            if self.watch is None:
                assignment = records.read_if_there(self.paths.assignment(self.served), Assignment)
                if assignment.attempt is None if assignment is not None else self.paths.leave.exists():
                    self.nothing_left = self.nothing_left or now
                elif assignment is not None and assignment.attempt is not None:
                    self.watch, self.nothing_left = Watch(AttemptPaths(Path(assignment.attempt)), since=now), None
            if self.watch is None:
                return
            if not self.watch.paths.result.exists():
                self.watch.observe(now, self.paths.log)
                return
            failed = records.read(self.watch.paths.result, AttemptResult).state is RunState.FAILED
            self.watch, self.served = None, self.served + 1
            if failed or self.served >= self.spec.serves:  # one in which an attempt failed serves no other
                self.nothing_left = now

    def _conclude(self, ruling: Verdict | None, code: int) -> None:
        """Writes the result of the attempt that the engine left without one."""
        if self.watch is None or self.watch.paths.result.exists():
            return
        if ruling is None and self.served and not was_taken(self.watch.paths):
            return  # it died of something else: whoever handed it over finds another engine
        forced = ruling is not None
        if ruling is None and self.watch.request is not None:  # it died while it was stopping: the wish was fulfilled
            ruling = Verdict(state=RunState.STOPPED, reason=self.watch.request.reason, message=self.watch.request.message)
        if ruling is None:
            ruling = Verdict(state=RunState.FAILED, reason=Reason.CRASHED, message=f"the engine ended with {_describe(code)}")
        self._write_result(ruling, code, forced=forced)

    def _write_result(self, ruling: Verdict, code: int | None, *, forced: bool) -> None:
        assert self.watch is not None
        result = AttemptResult(
            state=ruling.state,
            reason=ruling.reason,
            message=ruling.message,
            ended_at=time.time(),
            steps=_last_step(self.watch.paths),
            exit_code=code,
            forced=forced,
        )
        with contextlib.suppress(FileExistsError):  # the engine's own word came first
            records.write(self.watch.paths.result, result)

    def _on_sigterm(self, *_: object) -> None:
        self.ended_by_user = True


def _describe(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def _last_step(attempt: AttemptPaths) -> int:
    # Imported at the end of an attempt only: it is not needed to supervise.
    from harness.metrics import MetricReader

    return max((point.step for point in MetricReader(attempt.metrics).new_points()), default=0)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def main() -> None:
    paths = EnginePaths(Path(sys.argv[1]))
    Supervisor(paths, records.read(paths.command, EngineSpec)).run()


if __name__ == "__main__":
    main()

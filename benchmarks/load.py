"""What a large study costs the controller beside Optuna, and how fast logs and metrics are read: python -m benchmarks.load

A stand-in trainer on a simulated clock runs 64 trials at once, of 100 reports each. One process drives it by the loop that every study
runs, another one by plain Optuna; both have the same sampler, pruner, journal format, values, and order of events. Every value is the
same, so that no pruner stops a trial and all are reported to their end. CPU time is the process's own; the journal is in a folder of
memory where there is one, since fsync takes none.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import optuna
from optuna.distributions import FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState as OptunaState

from benchmarks.tables import heading, table
from harness.attempt_watch import AttemptWatch
from harness.lines import LineReader
from harness.metrics import MetricReader
from harness.objective import Curve
from harness.paths import TrialPaths
from harness.types import Objective, Reason, TrialState
from sweeps import storage
from sweeps.loop import Loop
from sweeps.runner import Outcome, Proposal, Update

DISTRIBUTIONS = {"lr": FloatDistribution(1e-6, 1e-4, log=True), "kl": FloatDistribution(1e-4, 1e-1, log=True)}
FAILS_EVERY = 50  # trials
METRIC = "val-core/gsm8k/acc/mean@1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    trials: int
    reports: int
    at_once: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Of one process."""

    cpu_s: float
    wall_s: float
    peak_mib: float
    rss_mib: tuple[float, ...]  # at each tenth of the trials
    threads: tuple[int, ...]
    descriptors: tuple[int, ...]
    reports: int
    journal_mib: float


@dataclass(slots=True)
class Clock:
    """The trials that run, on a simulated clock: each takes its own time for a step."""

    reports: int
    now_s: float = 0.0
    _next: list[tuple[float, int, int]] = field(default_factory=list)  # when, trial, step

    def begin(self, number: int) -> None:
        heapq.heappush(self._next, (self.now_s + self._pace(number), number, 1))

    def advance(self) -> tuple[int, int, float]:
        """The next report: trial, step, value."""
        self.now_s, number, step = heapq.heappop(self._next)
        if step < self.reports:
            heapq.heappush(self._next, (self.now_s + self._pace(number), number, step + 1))
        return number, step, 0.5

    @staticmethod
    def _pace(number: int) -> float:
        return 1.0 + random.Random(number).random()


@dataclass(slots=True)
class Gauge:
    """Looks at this process whenever another tenth of the trials has ended."""

    trials: int
    ended: int = 0
    rss_mib: list[float] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    def count(self) -> None:
        self.ended += 1
        if self.ended % max(self.trials // 10, 1) == 0:
            self.rss_mib.append(_status_kib("VmRSS") / 1024)
            self.threads.append(_status_kib("Threads"))
            self.descriptors.append(len(list(Path("/proc/self/fd").iterdir())))


@dataclass(slots=True)
class Simulated:
    """A `sweeps.loop.Runner` and `Audience`."""

    work: Work
    clock: Clock
    gauge: Gauge
    running: int = 0

    def free(self) -> int:
        return self.work.at_once - self.running

    def start(self, proposal: Proposal) -> Outcome | None:
        self.running += 1
        self.clock.begin(proposal.number)
        return None

    def updates(self) -> Iterable[Update]:
        number, step, value = self.clock.advance()
        outcome = _outcome(number, value) if step == self.work.reports else None
        self.running -= outcome is not None
        yield Update(number=number, points=((step, value),), outcome=outcome)

    def stop(self, number: int, reason: Reason, message: str) -> None:
        raise AssertionError(f"trial {number}: {reason.value}: {message}; it would report less than plain Optuna's")

    def started(self, proposal: Proposal) -> None: ...

    def ended(self, number: int, outcome: Outcome) -> None:  # noqa: ARG002 (the loop's protocol)
        self.gauge.count()

    def tick(self) -> None: ...


def _outcome(number: int, value: float) -> Outcome:
    if number % FAILS_EVERY == 0:
        return Outcome(state=TrialState.FAIL, reason=Reason.CRASHED, message="RuntimeError: CUDA out of memory")
    return Outcome(state=TrialState.COMPLETE, reason=Reason.FINISHED, message="", values=(value,))


def by_the_loop(study: optuna.Study, work: Work, gauge: Gauge) -> None:
    runner = Simulated(work=work, clock=Clock(work.reports), gauge=gauge)
    Loop(
        study=study,
        runner=runner,
        propose=lambda trial: Proposal(number=trial.number, params=trial.params, overrides=()),
        distributions=DISTRIBUTIONS,
        n_trials=work.trials,
        max_failure_rate=1.0,
        at_once=work.at_once,
        audience=runner,
    ).run()


def by_optuna(study: optuna.Study, work: Work, gauge: Gauge) -> None:
    """As Optuna's manual has it, with several trials at once, and the same reason and message for one that failed."""
    clock, running = Clock(work.reports), dict[int, optuna.Trial]()
    for asked in range(work.trials + work.at_once):
        while len(running) == work.at_once or (running and asked >= work.trials):
            number, step, value = clock.advance()
            trial = running[number]
            trial.report(value, step)
            if step < work.reports:
                assert not trial.should_prune()
                continue
            del running[number]
            outcome = _outcome(number, value)
            if outcome.state is TrialState.FAIL:
                trial.set_user_attr("reason", outcome.reason.value)
                trial.set_user_attr("message", outcome.message)
                study.tell(number, state=OptunaState.FAIL)
            else:
                study.tell(number, value)
            gauge.count()
        if asked < work.trials:
            trial = study.ask(DISTRIBUTIONS)
            running[trial.number] = trial
            clock.begin(trial.number)


def play(side: str, work: Work, folder: Path) -> Figures:
    """In this very process."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = folder / f"{side}.log"
    lock = JournalFileOpenLock(str(path))
    kept = storage.journal(path) if side == "loop" else JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
    study = optuna.create_study(
        storage=kept,
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=1),
        pruner=optuna.pruners.SuccessiveHalvingPruner(),
    )
    gauge = Gauge(work.trials)
    cpu, wall = time.process_time(), time.perf_counter()
    (by_the_loop if side == "loop" else by_optuna)(study, work, gauge)
    cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - wall
    trials = study.get_trials(deepcopy=False)
    assert len(trials) == work.trials
    assert all(trial.state.is_finished() for trial in trials)
    return Figures(
        cpu_s=cpu_s,
        wall_s=wall_s,
        peak_mib=_status_kib("VmHWM") / 1024,
        rss_mib=tuple(gauge.rss_mib),
        threads=tuple(gauge.threads),
        descriptors=tuple(gauge.descriptors),
        reports=sum(len(trial.intermediate_values) for trial in trials),
        journal_mib=path.stat().st_size / 2**20,
    )


def compare(work: Work) -> tuple[Figures, Figures]:
    """The loop's figures and plain Optuna's, side by side, so that a busy moment hits both."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=memory if os.access(memory, os.W_OK) else None) as name:
        children = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.load", "--play", side, "--folder", name, *_as_arguments(work)],
                stdout=subprocess.PIPE,
                cwd=Path(__file__).parents[1],
            )
            for side in ("loop", "optuna")
        ]
        said = [child.communicate()[0] for child in children]
    if any(child.returncode for child in children):
        raise RuntimeError(f"a side ended with {[child.returncode for child in children]}")
    loop, plain = (Figures(**{name: _frozen(value) for name, value in json.loads(text).items()}) for text in said)
    return loop, plain


def extra_ms(loop: Figures, plain: Figures, work: Work) -> float:
    """CPU time that a trial costs beyond Optuna's own."""
    return 1000 * (loop.cpu_s - plain.cpu_s) / work.trials


def _as_arguments(work: Work) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in asdict(work).items()]


def _frozen(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _status_kib(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])


# --- readers ---------------------------------------------------------------------------------------------------------------------------


def metric_line(step: int) -> bytes:
    """As long as one of verl's: a hundred values."""
    values = {METRIC: 0.5} | {f"actor/some_metric_{name}/mean": 0.123456789 * name for name in range(100)}
    return json.dumps({"step": step, "data": values}).encode() + b"\n"


def readers(folder: Path) -> Iterator[tuple[str, str, float]]:
    """What reads, what, and at how many MB/s of CPU time."""
    attempt = TrialPaths(folder / "trial-0000").attempt(0)
    attempt.root.mkdir(parents=True)
    attempt.metrics.write_bytes(b"".join(metric_line(step) for step in range(1, 4000)))
    log = folder / "engine.log"
    log.write_bytes(b"\x1b[36m(TaskRunner pid=123)\x1b[0m step:17 - actor/kl_loss:0.01 - critic/rewards/mean:0.5\n" * 2**20)
    curve = Curve(Objective(metric=METRIC))
    yield (
        "the controller: metrics to the objective's curve",
        "metric lines",
        _speed(attempt.metrics, lambda: curve.extend(MetricReader(attempt.metrics).new_points())),
    )
    yield "a screen: metrics to its curve", "metric lines", _speed(attempt.metrics, AttemptWatch(attempt, METRIC).follow)
    yield "lines of a log, bounded", "log lines", _speed(log, lambda: sum(1 for _ in LineReader(log).new_lines()))
    yield "`verl-study logs`", "log lines", _speed(log, lambda: _copied(log))


def _speed(path: Path, read: object) -> float:
    cpu = time.process_time()
    read()  # type: ignore[operator]
    return path.stat().st_size / 1e6 / max(time.process_time() - cpu, 1e-3)


def _copied(path: Path) -> None:
    from analysis.commands import _copy
    from harness.lines import Place

    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        _copy(path, Place(), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--reports", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--play", choices=("loop", "optuna"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    work = Work(trials=asked.trials, reports=asked.reports, at_once=asked.at_once)
    if asked.play:
        print(json.dumps(asdict(play(asked.play, work, asked.folder))))
        return
    heading()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        table(("reader", "of", "MB/s of CPU time"), [(who, of, f"{speed:,.0f}") for who, of, speed in readers(Path(name))])
    print(f"{work.trials:,} trials of {work.reports} reports, {work.at_once} at once; random sampler, successive halving, journal file\n")
    loop, plain = compare(work)
    rows = [
        (
            name,
            f"{1000 * side.cpu_s / work.trials:.1f}",
            f"{side.cpu_s / plain.cpu_s:.2f}",
            f"{side.peak_mib:.0f}",
            f"{min(side.threads)} to {max(side.threads)}",
            f"{min(side.descriptors)} to {max(side.descriptors)}",
            f"{side.journal_mib:.0f}",
        )
        for name, side in (("the loop", loop), ("plain Optuna", plain))
    ]
    table(("driven by", "CPU ms a trial", "/ plain Optuna", "peak RSS MiB", "threads", "descriptors", "journal MiB"), rows)
    print(f"a trial costs {extra_ms(loop, plain, work):.2f} ms of CPU time beyond Optuna's own")


if __name__ == "__main__":
    main()

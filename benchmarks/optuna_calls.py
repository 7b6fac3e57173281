"""What ask, tell, report and should_prune cost through the loop, next to plain Optuna: python -m benchmarks.optuna_calls

Both sides have the same sampler, pruner and journal file, which the same trials have filled. The loop's side is `Loop.run` itself, over a
runner whose trials are made up; its clock runs while the loop does, and stops while the runner does.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.distributions import FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from benchmarks.tables import heading, table
from harness.types import Reason, TrialState
from sweeps import storage
from sweeps.loop import Loop
from sweeps.runner import Outcome, Proposal, Update
from sweeps.space import Space
from sweeps.sweeper import proposer

SPACE = Space(distributions={"x": FloatDistribution(-5, 5), "y": FloatDistribution(-5, 5)}, fixed=())
NAME = "benchmark"
PRUNERS: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
    "none": optuna.pruners.NopPruner,
    "median": optuna.pruners.MedianPruner,
    "successive_halving": optuna.pruners.SuccessiveHalvingPruner,
}
SAMPLERS: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
    "random": lambda: optuna.samplers.RandomSampler(seed=1),
    "tpe": lambda: optuna.samplers.TPESampler(seed=1, multivariate=True, constant_liar=True),
}


@dataclass(slots=True)
class Clock:
    """Milliseconds of each kind of call: on the wall, and of this process alone, which other processes disturb less."""

    wall_ms: dict[str, list[float]] = field(default_factory=dict)
    cpu_ms: dict[str, list[float]] = field(default_factory=dict)
    _wall: float = 0.0
    _cpu: float = 0.0

    def start(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stop(self, call: str) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        self.wall_ms.setdefault(call, []).append(1000 * (wall - self._wall))
        self.cpu_ms.setdefault(call, []).append(1000 * (cpu - self._cpu))


def values(steps: int) -> list[tuple[int, float]]:
    """Better than every trial that the study holds, so that no pruner asks for a stop."""
    return [(step, -1000.0 - step) for step in range(1, steps + 1)]


def fill(path: Path, trials: int, steps: int) -> None:
    """Trials as they would be after a study: every step reported, two user attributes, complete."""
    numbers = random.Random(1)
    study = optuna.create_study(study_name=NAME, storage=storage.journal(path))
    study.add_trials(
        optuna.create_trial(
            params={name: numbers.uniform(-5, 5) for name in SPACE.distributions},
            distributions=dict(SPACE.distributions),
            value=numbers.random(),
            user_attrs={"reason": "finished", "message": ""},
            intermediate_values={step: numbers.random() for step in range(1, steps + 1)},
        )
        for _ in range(trials)
    )


def plain(study: optuna.Study, clock: Clock, steps: int) -> None:
    """One more trial, as Optuna's manual has it: ask, report and should_prune at each step, tell."""
    clock.start()
    trial = study.ask(dict(SPACE.distributions))
    clock.stop("ask")
    for step, value in values(steps):
        clock.start()
        trial.report(value, step)
        trial.should_prune()
        clock.stop("report + should_prune")
    clock.start()
    study.tell(trial, 1.0)
    clock.stop("tell")


@dataclass(slots=True)
class MadeUp:
    """A `sweeps.loop.Runner` and `Audience` of trials that take no time."""

    clock: Clock
    steps: int
    _running: int | None = None

    def free(self) -> int:
        self.clock.start()  # the loop asks for room, then Optuna for a trial
        return int(self._running is None)

    def start(self, proposal: Proposal) -> Outcome | None:
        self.clock.stop("ask")
        self._running = proposal.number
        return None

    def started(self, proposal: Proposal) -> None: ...

    def updates(self) -> Iterable[Update]:
        assert self._running is not None
        for point in values(self.steps):
            self.clock.start()
            yield Update(number=self._running, points=(point,))
            self.clock.stop("report + should_prune")
        self.clock.start()
        yield Update(number=self._running, outcome=Outcome(state=TrialState.COMPLETE, reason=Reason.FINISHED, message="", values=(1.0,)))

    def ended(self, number: int, outcome: Outcome) -> None:  # noqa: ARG002 (the loop's protocol)
        self.clock.stop("tell")
        self._running = None

    def stop(self, number: int, reason: Reason, message: str) -> None:
        raise AssertionError(f"trial {number}: {reason.value}: {message}; a pruned trial would be timed for fewer steps")

    def tick(self) -> None: ...


def ours(study: optuna.Study, clock: Clock, steps: int) -> None:
    """One more trial by the loop that every study runs."""
    made_up = MadeUp(clock=clock, steps=steps)
    Loop(
        study=study,
        runner=made_up,
        propose=proposer(SPACE, None, None),  # type: ignore[arg-type] # a configuration is for a user's own space
        distributions=SPACE.distributions,
        n_trials=len(study.get_trials(deepcopy=False)) + 1,
        max_failure_rate=0.0,
        at_once=1,
        audience=made_up,
    ).run()


def compare(trials: int, asked: argparse.Namespace) -> tuple[Clock, Clock]:
    """Plain Optuna's clock and ours, trial by trial in turns, so that a busy moment hits both."""
    clocks = Clock(), Clock()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        filled = Path(name) / "plain.log"
        fill(filled, trials, asked.steps)
        shutil.copyfile(filled, Path(name) / "ours.log")
        backends = (
            JournalStorage(JournalFileBackend(str(filled), lock_obj=JournalFileOpenLock(str(filled)))),
            storage.journal(Path(name) / "ours.log"),
        )
        studies = [
            optuna.load_study(study_name=NAME, storage=backend, sampler=SAMPLERS[asked.sampler](), pruner=PRUNERS[asked.pruner]())
            for backend in backends
        ]
        for turn in range(asked.new):
            for side in (0, 1) if turn % 2 else (1, 0):
                (plain, ours)[side](studies[side], clocks[side], asked.steps)
    return clocks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 10_000], help="in the study before")
    parser.add_argument("--new", type=int, default=20, help="trials that are timed, on each side")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--sampler", choices=tuple(SAMPLERS), default="tpe")
    parser.add_argument("--pruner", choices=tuple(PRUNERS), default="median")
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    heading()
    print(f"{asked.sampler} sampler, {asked.pruner} pruner, journal file, {asked.steps} steps a trial; medians of {asked.new} trials\n")
    rows = []
    for trials in asked.trials:
        theirs, mine = compare(trials, asked)
        for call in theirs.wall_ms:
            wall = [statistics.median(clock.wall_ms[call]) for clock in (theirs, mine)]
            cpu = [statistics.median(clock.cpu_ms[call]) for clock in (theirs, mine)]
            rows.append((f"{trials:,}", call, f"{wall[0]:.3f}", f"{wall[1]:.3f}", f"{wall[1] / wall[0]:.2f}", f"{cpu[1] / cpu[0]:.2f}"))
    table(("trials in the study", "call", "plain Optuna ms", "the loop ms", "the loop / plain", "the same in CPU time"), rows)


if __name__ == "__main__":
    main()

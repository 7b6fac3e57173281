"""What a trial costs beside its own work, next to other sweepers: python -m benchmarks.throughput

No-op trials in one slot, then trials of 1.5 and 0.5 s by turns in two. All run the same function (benchmarks/tasks/timed.py), which notes
when it began and ended. Start-up is the time from the start of the process to the first trial; it is in one column and not in the other.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import peers
from benchmarks.tables import heading, table

TASKS = Path(__file__).parent / "tasks"
LONG_S, SHORT_S = 1.5, 0.5  # the long one first: with it last, one of two slots would idle for the end of it whoever sweeps


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    trials: int
    at_once: int
    sampler: str
    seconds: tuple[float, float]  # of a trial, by turns


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Of one process."""

    process_s: float
    trials_s: float  # from the first trial's beginning to the last one's end
    ends_s: float  # from the first trial's end to the last one's
    trials: int


Command = Callable[[Work, Path], Sequence[str]]


def hydra_app(python: Path, *choices: str) -> Command:
    def command(work: Work, folder: Path) -> Sequence[str]:
        space = ["x=interval(-5,5)", "y=interval(-5,5)", f"seconds=[{work.seconds[0]},{work.seconds[1]}]"]
        options = [f"hydra/sweeper/sampler={work.sampler}", "hydra.sweeper.sampler.seed=1", "hydra.sweeper.direction=minimize"]
        size = [f"hydra.sweeper.n_trials={work.trials}", f"hydra.sweeper.n_jobs={work.at_once}"]
        return [str(python), str(TASKS / "bowl.py"), *choices, *options, *size, f"hydra.sweep.dir={folder / 'jobs'}", *space, "-m"]

    return command


def ray_tune(python: Path, actors: str) -> Command:
    def command(work: Work, folder: Path) -> Sequence[str]:
        numbers = [str(number) for number in (work.trials, work.at_once, *work.seconds)]
        return [str(python), str(TASKS / "bowl_tune.py"), str(folder / "jobs"), actors, work.sampler, *numbers]

    return command


def contenders() -> dict[str, Command]:
    """Ours first; their environments are made where they are missing."""
    joblib = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    ours, official, tune = Path(sys.executable), peers.python("official"), peers.python("tune")
    return {
        "verl_optuna, local launcher": hydra_app(ours, "hydra/sweeper=verl_optuna", "hydra/launcher=local"),
        "verl_optuna, Hydra's basic launcher": hydra_app(ours, "hydra/sweeper=verl_optuna"),
        "hydra-optuna-sweeper 1.3.0, basic launcher": hydra_app(official, "hydra/sweeper=optuna"),
        "hydra-optuna-sweeper 1.3.0, joblib launcher": hydra_app(official, "hydra/sweeper=optuna", *joblib),
        "Ray Tune 2.60.0, OptunaSearch": ray_tune(tune, "new"),
        "Ray Tune 2.60.0, OptunaSearch, reuse_actors": ray_tune(tune, "reused"),
    }


def timing(command: Command, work: Work) -> Timing:
    """Raises CalledProcessError."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        began = time.monotonic()
        environment = {**os.environ, "BENCH_FOLDER": name}
        done = subprocess.run(command(work, folder), env=environment, cwd=name, capture_output=True, text=True, check=False)
        process_s = time.monotonic() - began
        if done.returncode:
            sys.exit(f"{' '.join(map(str, done.args))}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        begins, ends = _moments(folder / "began"), _moments(folder / "ended")
    return Timing(process_s=process_s, trials_s=ends[-1] - begins[0], ends_s=ends[-1] - ends[0], trials=len(ends))


def _moments(path: Path) -> list[float]:
    return sorted(float(line) for line in path.read_text().split())


def by_turns(commands: dict[str, Command], work: Work, repeat: int) -> dict[str, list[Timing]]:
    """So that a busy moment hits all alike."""
    found: dict[str, list[Timing]] = {name: [] for name in commands}
    for _ in range(repeat):
        for name, command in commands.items():
            found[name].append(timing(command, work))
    return found


def median(numbers: Iterable[float]) -> float:
    return statistics.median(numbers)


def no_op_trials(commands: dict[str, Command], work: Work, repeat: int) -> None:
    print(f"{work.trials} no-op trials, one slot, {work.sampler} sampler, median of {repeat}; a trial's time is from one end to the next\n")
    found = by_turns(commands, work, repeat)
    trial_ms = {name: [1000 * timing.ends_s / (timing.trials - 1) for timing in timings] for name, timings in found.items()}
    ours = next(iter(trial_ms.values()))
    rows = []
    for name, took in trial_ms.items():
        ratios = f"{median(ours) / median(took):.2f}", f"{min(ours) / min(took):.2f}"
        process_s = median(timing.process_s for timing in found[name])
        rows.append((name, f"{median(took):.1f}", f"{min(took):.1f}", f"{1000 / median(took):.1f}", *ratios, f"{process_s:.2f}"))
    columns = ("sweeper", "ms a trial", "least", "trials a second", "first row / this", "the same of the least", "wall s with start-up")
    table(columns, rows)


def two_slots(commands: dict[str, Command], work: Work, repeat: int) -> None:
    print(f"{work.trials} trials of {LONG_S} and {SHORT_S} s by turns, two slots, {work.sampler} sampler, median of {repeat}")
    print("efficiency: the trials' own seconds / (2 x wall)\n")
    own_s = work.trials / 2 * (LONG_S + SHORT_S)
    rows = []
    for name, timings in by_turns(commands, work, repeat).items():
        trials_s, process_s = median(timing.trials_s for timing in timings), median(timing.process_s for timing in timings)
        best = own_s / 2 / min(timing.trials_s for timing in timings)
        rows.append(
            (name, f"{trials_s:.2f}", f"{own_s / 2 / trials_s:.3f}", f"{best:.3f}", f"{process_s:.2f}", f"{own_s / 2 / process_s:.3f}")
        )
    table(("sweeper", "wall s", "efficiency", "the best", "wall s with start-up", "efficiency with start-up"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=30, help="no-op trials")
    parser.add_argument("--long-trials", type=int, default=20, help="trials of a second")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--sampler", choices=("random", "tpe"), default="random")
    parser.add_argument("--only", default="", help="a part of the sweepers' names, besides the first")
    asked = parser.parse_args()
    heading()
    first, *others = contenders().items()
    chosen = dict([first, *(other for other in others if asked.only in other[0])])
    serial = {name: command for name, command in chosen.items() if "joblib" not in name}
    parallel = {name: command for name, command in chosen.items() if "basic" not in name}
    if asked.trials > 1:
        no_op_trials(serial, Work(trials=asked.trials, at_once=1, sampler=asked.sampler, seconds=(0.0, 0.0)), asked.repeat)
    if asked.long_trials > 1:
        two_slots(parallel, Work(trials=asked.long_trials, at_once=2, sampler=asked.sampler, seconds=(LONG_S, SHORT_S)), asked.repeat)


if __name__ == "__main__":
    main()

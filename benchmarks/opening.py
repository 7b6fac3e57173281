"""What opening a study costs, next to plain Optuna: python -m benchmarks.opening

The same study is written twice: as Optuna's own journal file has it, a line for every value that was reported, and as ours is once it was
rewritten. Each opening is a process of its own; its clock runs from the file's name to the list of all trials, imports left out.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from benchmarks.tables import heading, table
from sweeps import storage
from sweeps.journal import LEAST_BYTES, StudyStorage

NAME = "benchmark"
SPACE = {
    "lr": FloatDistribution(1e-6, 1e-3, log=True),
    "kl_coef": FloatDistribution(1e-4, 1e-1, log=True),
    "rollout_n": IntDistribution(2, 8),
}
BASELINE = "plain Optuna, its own file"
OPENINGS = {  # name -> (whose code, which file)
    BASELINE: ("plain", "whole.log"),
    "plain Optuna, our file": ("plain", "few.log"),
    "ours, our file": ("ours", "few.log"),
    "ours, our file before its next rewrite": ("ours", "grown.log"),
}


def lines(trials: int, steps: int) -> Iterator[dict[str, Any]]:
    """Optuna's own lines of a study: those of its first trial are taken down, and told again of the others with other numbers."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        path = Path(name) / "one.log"
        study = optuna.create_study(study_name=NAME, storage=plain(path), sampler=optuna.samplers.RandomSampler(seed=1))
        trial = study.ask(SPACE)
        for step in range(1, steps + 1):
            trial.report(0.5, step)
        trial.set_user_attr("message", "trained to its last step")
        study.tell(trial, 0.5)
        known = [json.loads(line) for line in path.read_text().splitlines()]
    first = next(index for index, line in enumerate(known) if "distribution" in line) - 1  # which makes the trial
    numbers = random.Random(1)
    yield from known[:first]
    for number in range(trials):
        for line in known[first:]:
            yield _retold(line, number, numbers)


def _retold(line: dict[str, Any], number: int, numbers: random.Random) -> dict[str, Any]:
    new = {"trial_id": number} if "trial_id" in line else {}
    if "intermediate_value" in line:
        new["intermediate_value"] = numbers.random()
    if line.get("values"):
        new["values"] = [numbers.random()]
    if line.get("param_name") in ("lr", "kl_coef"):
        new["param_value_internal"] = numbers.uniform(1e-4, 1e-3)
    return {**line, **new}


def build(folder: Path, trials: int, steps: int) -> None:
    """The study's files; the third is as large as ours ever gets."""
    whole, few, grown = (folder / name for name in ("whole.log", "few.log", "grown.log"))
    with whole.open("w") as file:
        file.writelines(json.dumps(line, separators=(",", ":")) + "\n" for line in lines(trials, steps))
    shutil.copyfile(whole, few)
    StudyStorage(few).compact()
    most = max(LEAST_BYTES, int(1.25 * few.stat().st_size) + LEAST_BYTES)
    shutil.copyfile(few, grown)
    with whole.open() as source, grown.open("a") as file:
        size = few.stat().st_size
        later = (line for line in source if json.loads(line)["op_code"] > 3)
        number = trials
        for line in later:
            fields = json.loads(line)
            if "trial_id" in fields:
                fields["trial_id"] += trials
            text = json.dumps(fields, separators=(",", ":")) + "\n"
            number += fields["op_code"] == 4
            if size + len(text) > most or number > 2 * trials:
                break
            size += file.write(text)


def plain(path: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))


def open_once(whose: str, path: Path) -> None:
    """In a process of its own: prints seconds, MiB at the most, and trials."""
    before = peak_mib()
    began, cpu = time.perf_counter(), time.process_time()
    kept = plain(path) if whose == "plain" else storage.journal(path)
    trials = optuna.load_study(study_name=NAME, storage=kept).get_trials(deepcopy=False)
    took, busy = time.perf_counter() - began, time.process_time() - cpu
    print(json.dumps([took, busy, peak_mib(), before, len(trials)]))


def peak_mib() -> float:
    """Of this program: getrusage would count what its parent had before it."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def opening(whose: str, path: Path) -> list[float]:
    argv = [sys.executable, "-m", "benchmarks.opening", "--one", whose, str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    found: list[float] = json.loads(done.stdout)
    return found


def compare(trials: int, steps: int, repeat: int) -> None:
    """By turns, so that a busy moment hits all alike."""
    found: dict[str, list[list[float]]] = {name: [] for name in OPENINGS}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        build(folder, trials, steps)
        sizes = {file.name: file.stat().st_size / 2**20 for file in folder.iterdir()}
        for _ in range(repeat):
            for opened, (whose, file) in OPENINGS.items():
                found[opened].append(opening(whose, folder / file))
    base = [run[0] for run in found[BASELINE]]
    rows = []
    for opened, runs in found.items():
        wall, cpu, peak, before, count = zip(*runs, strict=True)
        ratios = f"{statistics.median(wall) / statistics.median(base):.3f}", f"{min(wall) / min(base):.3f}"
        times = f"{statistics.median(wall):.3f}", f"{min(wall):.3f}", f"{min(cpu):.3f}"
        memory = f"{max(peak):.0f}", f"{max(peak) - max(before):.0f}"
        rows.append((opened, f"{count[0]:,.0f}", f"{sizes[OPENINGS[opened][1]]:.1f}", *times, *ratios, *memory))
    print(f"{trials:,} trials of {steps} steps; {repeat} times, each in a fresh process\n")
    table(
        ("opening", "trials", "MiB", "s, median", "the best", "its CPU s", "this / first row", "of the best", "peak MiB", "beyond imports"),
        rows,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--one", nargs=2, metavar=("WHOSE", "FILE"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if asked.one:
        open_once(asked.one[0], Path(asked.one[1]))
        return
    heading()
    for trials in asked.trials:
        compare(trials, asked.steps, asked.repeat)


if __name__ == "__main__":
    main()

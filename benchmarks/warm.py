"""What warm engines save, and whether they change anything: python -m benchmarks.warm [overrides of a study]

Runs one study twice, warm and cold (engine.reuse=never), and compares: wall clock, share of start-up, hand-over by phase, and the metrics
of trials of the same point. `--only warm` and `--compare FOLDER FOLDER` do it in parts, where one command may not take so long.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tables import heading, table
from harness import records
from harness.metrics import MetricReader
from harness.paths import AttemptPaths, StudyPaths
from harness.types import Event, TrialResult, TrialSpec

OF_THE_MACHINE = ("timing", "perf/", "actor/perf", "critic/perf")  # prefixes of metrics that say nothing of the training
# How far the rollout's probabilities lie from the actor's. They are recomputed before training, and a generation batch that a slow moment
# split in two changes their last bits.
DIAGNOSTICS = ("training/rollout_", "rollout_corr/")
SHOWN = ("critic/rewards/mean", "actor/kl_loss", "actor/grad_norm", "actor/pg_loss", "actor/entropy", "response_length/mean")
DEMO = (
    "experiment=demo",
    "hydra.sweeper.n_trials=12",
    "hydra/sweeper/plan=once",
    "hydra/sweeper/pruner=none",
    "steps=4",
    "trainer.test_freq=4",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What the records say of one."""

    params: str
    result: TrialResult
    rows: dict[int, dict[str, float]]
    events: tuple[Event, ...]

    def at(self, name: str) -> float:
        return next(event.at for event in self.events if event.name == name)

    @property
    def start_up_s(self) -> float:
        """To the first sampling: where a validation comes first, to that."""
        return self.at("handed_over") - self.at("given_slot")

    @property
    def seconds(self) -> float:
        return self.result.ended_at - self.at("given_slot")


def run(name: str, overrides: Iterable[str]) -> StudyPaths:
    """A study in ./outputs; ends this program where it fails."""
    command = [sys.executable, "-m", "sweeps.app", "-m", *overrides, f"study.name={name}", "paths.outputs=outputs"]
    began = time.monotonic()
    done = subprocess.run(command, check=False)
    print(f"\n{name}: {' '.join(command[3:])}: exit status {done.returncode} after {time.monotonic() - began:.0f} s\n", flush=True)
    if done.returncode:
        sys.exit(done.returncode)
    return StudyPaths(Path("outputs") / name)


def trials(study: StudyPaths) -> list[Trial]:
    """Those that trained, in the order in which they got a slot."""
    found = []
    for paths in study.trials():
        result = records.read_if_there(paths.result, TrialResult)
        if result is None or not result.attempts:
            continue
        attempt = paths.attempt(result.attempts - 1)
        params = json.dumps(records.read(paths.spec, TrialSpec).params, sort_keys=True)
        found.append(Trial(params=params, result=result, rows=_rows(attempt), events=tuple(records.events(attempt.events))))
    return sorted(found, key=lambda trial: trial.at("given_slot"))


def _rows(attempt: AttemptPaths) -> dict[int, dict[str, float]]:
    rows: dict[int, dict[str, float]] = {}
    for point in MetricReader(attempt.metrics).new_points():
        kept = {name: value for name, value in point.values.items() if not name.startswith(OF_THE_MACHINE) and "mfu" not in name}
        rows.setdefault(point.step, {}).update(kept)
    return rows


def costs(studies: dict[str, list[Trial]]) -> None:
    rows = []
    for name, found in studies.items():
        wall_s = found[-1].result.ended_at - found[0].at("given_slot")
        start_ups = [trial.start_up_s for trial in found]
        share, later = sum(start_ups) / wall_s, found[9:]
        late = f"{100 * sum(trial.start_up_s for trial in later) / sum(trial.seconds for trial in later):.1f} %" if later else "-"
        warm = sum(trial.result.warm for trial in found)
        middle, worst = statistics.median(start_ups[1:] or start_ups), max(start_ups[1:] or start_ups)
        times = f"{wall_s:.0f}", f"{wall_s / len(found):.1f}"
        starts = f"{start_ups[0]:.1f}", f"{middle:.2f}", f"{worst:.2f}"
        rows.append((name, str(len(found)), str(warm), *times, f"{100 * share:.0f} %", late, *starts))
    columns = ("study", "trials", "of them warm", "wall s", "s a trial", "start-up share", "from the 10th on")
    table((*columns, "first start s", "later starts, median s", "worst"), rows)


def phases(found: list[Trial]) -> None:
    """Of the hand-overs to an engine that was running."""
    seconds: dict[str, list[float]] = {}
    for trial in found:
        if not trial.result.warm:
            continue
        event = next(event for event in trial.events if event.name == "handed_over")
        seconds.setdefault("slot to engine", []).append(trial.at("accepted") - trial.at("given_slot"))
        for phase, took in event.data["phases"].items():
            seconds.setdefault(phase, []).append(took)
    table(
        ("phase of a hand-over", "median s", "worst s"),
        [(phase, f"{statistics.median(took):.3f}", f"{max(took):.3f}") for phase, took in seconds.items()],
    )


def between(found: list[Trial]) -> None:
    """From a trial's end to the next one's first sampling."""
    gaps = [later.at("handed_over") - earlier.result.ended_at for earlier, later in itertools.pairwise(found) if later.result.warm]
    if gaps:
        print(f"from a trial's end to the next one's first sampling: median {statistics.median(gaps):.2f} s, worst {max(gaps):.2f} s\n")


def pairs(left: list[Trial], right: list[Trial]) -> Iterator[tuple[Trial, Trial]]:
    """Trials of the same point."""
    by_params = {trial.params: trial for trial in left}
    for trial in right:
        if trial.params in by_params and by_params[trial.params] is not trial:
            yield by_params[trial.params], trial


def differences(left: list[Trial], right: list[Trial], names: tuple[str, str]) -> None:
    """How far two trainings of the same point lie apart, over the steps that both logged."""
    matched = list(pairs(left, right))
    shared = [(one.rows[step], other.rows[step]) for one, other in matched for step in one.rows.keys() & other.rows.keys()]
    keys = sorted({key for one, other in shared for key in one.keys() & other.keys()})
    unequal = [key for key in keys if any(one.get(key) != other.get(key) for one, other in shared)]
    print(f"{names[0]} and {names[1]}: {len(matched)} pairs of trials, {len(shared)} steps, {len(keys)} metrics, {len(unequal)} unequal")
    if all(key.startswith(DIAGNOSTICS) for key in unequal):
        gaps = [abs(one[key] - other[key]) for one, other in shared for key in unequal if key in one and key in other]
        if gaps:
            print(f"all of them diagnostics of the rollout's probabilities, by at most {max(gaps):.2g}: {', '.join(unequal)}")
        return
    rows = []
    for key in SHOWN:
        gaps = [abs(one[key] - other[key]) for one, other in shared if key in one and key in other]
        sizes = [abs(one[key]) for one, _ in shared if key in one]
        if gaps:
            rows.append((f"`{key}`", f"{statistics.mean(sizes):.4g}", f"{statistics.median(gaps):.3g}", f"{max(gaps):.3g}"))
    print()
    table(("metric", "mean size", "median difference", "largest"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("warm", "cold"))
    parser.add_argument("--name", default="benchmark", help="of the studies: NAME-warm, NAME-cold")
    parser.add_argument("--compare", nargs="+", type=Path, metavar="FOLDER", help="studies that ran; the first one warm")
    asked, overrides = parser.parse_known_args()
    heading()
    if asked.compare:
        folders = [StudyPaths(folder) for folder in asked.compare]
    else:
        kinds = {"warm": "always", "cold": "never"}
        chosen = {kind: reuse for kind, reuse in kinds.items() if asked.only in (None, kind)}
        folders = [run(f"{asked.name}-{kind}", [*(overrides or DEMO), f"engine.reuse={reuse}"]) for kind, reuse in chosen.items()]
    studies = {folder.name: trials(folder) for folder in folders}
    costs(studies)
    first, *others = studies
    phases(studies[first])
    between(studies[first])
    for other in others:
        differences(studies[first], studies[other], (first, other))


if __name__ == "__main__":
    main()

"""A whole study on GPUs, from its start to its report: where each trial's time went, what it took of the GPU, what it learned.

    python -m benchmarks.gpu.study --name one [overrides of a study]       and, for a second study of the same points,
    python -m benchmarks.gpu.study --name two --beside outputs/one resources=gpu_half ...

`--beside` compares with a study that ran before: seconds, GPU-hours, steps, and whether trials of the same point learned the same.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks import warm
from benchmarks.tables import heading, table
from benchmarks.warm import Trial
from harness.paths import StudyPaths
from harness.types import TrialState

STUDY = ("experiment=smollm2_gpu", "hydra.sweeper.n_trials=8")
REWARD = "critic/rewards/mean"


def phases(trials: Sequence[Trial]) -> None:
    """Seconds of each phase, trial by trial; what no trial went through is left out."""
    names = list(dict.fromkeys(phase for trial in trials for phase in trial.result.phases))
    rows = [
        (
            *(str(trial.result.number), str(trial.result.state), "warm" if trial.result.warm else "cold", trial.result.slot or ""),
            *(f"{trial.result.phases[name]:.1f}" if name in trial.result.phases else "-" for name in names),
        )
        for trial in trials
    ]
    table(("trial", "state", "engine", "slot", *names), rows)


def use(trials: Sequence[Trial]) -> None:
    """Of the GPUs, by trials that measured it."""
    measured = [(trial.result.number, trial.result.gpu) for trial in trials if trial.result.gpu is not None]
    roles = sorted({role for _, gpu in measured for role in gpu.peak_gib})
    rows = [
        (
            str(number),
            *(f"{gpu.peak_gib.get(role, 0):.1f}" for role in roles),
            "-" if gpu.mfu is None else f"{gpu.mfu:.1%}",
            "-" if gpu.tokens_per_s is None else f"{gpu.tokens_per_s:,.0f}",
            "-" if gpu.energy_kj is None else f"{gpu.energy_kj:.1f}",
        )
        for number, gpu in measured
    ]
    if rows:
        table(("trial", *(f"{role}, peak GiB" for role in roles), "MFU", "tokens/s", "kJ"), rows)


def learned(trials: Sequence[Trial]) -> None:
    """Rewards of the first and the last two steps, and validations."""
    rows = []
    for trial in trials:
        rewards = [row[REWARD] for _, row in sorted(trial.rows.items()) if REWARD in row]
        scores = [value for _, row in sorted(trial.rows.items()) for name, value in row.items() if name.startswith("val-core/")]
        told = [f"{statistics.fmean(part):.3f}" if part else "-" for part in (rewards[:2], rewards[-2:])]
        rows.append((str(trial.result.number), trial.params, str(len(rewards)), *told, " ".join(f"{score:.3f}" for score in scores)))
    table(("trial", "point", "steps", "reward, first two", "last two", "validations"), rows)


def training_s(trials: Iterable[Trial]) -> float:
    """Seconds of training steps, in all."""
    return sum(trial.result.phases.get("first step", 0.0) + steady(trial) * max(len(steps(trial)) - 1, 0) for trial in trials)


def steady(trial: Trial) -> float:
    return trial.result.phases.get("steady step", 0.0)


def steps(trial: Trial) -> list[int]:
    return [step for step, row in trial.rows.items() if REWARD in row]


def totals(name: str, trials: Sequence[Trial], slots: int) -> tuple[str, ...]:
    wall_s = max(trial.result.ended_at for trial in trials) - min(trial.at("given_slot") for trial in trials)
    gpu_s = sum(trial.result.gpu_seconds for trial in trials)
    pruned = sum(trial.result.state is TrialState.PRUNED for trial in trials)
    medians = [steady(trial) for trial in trials if steady(trial)]
    step = f"{statistics.median(medians):.2f}" if medians else "-"
    share = f"{training_s(trials) / (slots * wall_s):.0%}"
    return name, str(len(trials)), str(pruned), str(slots), f"{wall_s:.0f}", f"{gpu_s / 3600:.3f}", step, share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="gpu-study")
    parser.add_argument("--beside", type=Path, metavar="FOLDER", help="a study that ran before, of the same points")
    parser.add_argument("--only-tables", action="store_true", help="of a study that ran")
    asked, overrides = parser.parse_known_args()
    heading()
    began = time.monotonic()
    study = StudyPaths(Path("outputs") / asked.name) if asked.only_tables else warm.run(asked.name, overrides or STUDY)
    if not asked.only_tables:
        print(f"from start to report: {time.monotonic() - began:.0f} s\n")
    studies = {folder.name: warm.trials(folder) for folder in ([StudyPaths(asked.beside)] if asked.beside else []) + [study]}
    phases(studies[study.name])
    use(studies[study.name])
    learned(studies[study.name])
    rows = [totals(name, trials, len({trial.result.slot for trial in trials})) for name, trials in studies.items()]
    table(("study", "trials", "pruned", "slots", "wall s", "GPU-hours", "steady step s", "share of slots' time that is training"), rows)
    if asked.beside:
        first, second = studies
        warm.differences(studies[first], studies[second], (first, second))


if __name__ == "__main__":
    main()

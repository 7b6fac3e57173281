"""The demo with its plan and without any pruning, over real verl: python -m benchmarks.demo [overrides of a study]

Two studies of the same sampler, seed and space: the experiment as it is, and as many configurations as it started, each trained to its end
with one seed (plan=once). Then the two picks, where they differ, with seeds that neither study has used: which one is really better.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks import warm
from benchmarks.tables import heading, table
from harness.paths import StudyPaths
from harness.result import Result
from harness.status import StudyStatus, load_study
from harness.trial_status import TrialStatus
from harness.types import Role, TrialState

DEMO = ("experiment=demo",)
WHOLE = ("hydra/sweeper/plan=once", "hydra/sweeper/pruner=none")
FRESH = range(5_000_001, 5_000_005)  # seeds that no plan uses


def look(paths: StudyPaths) -> tuple[StudyStatus, Result]:
    """Of a study that has ended. Raises ValueError where no trial of it is complete."""
    status = load_study(paths)
    result = status.result()
    if result is None:
        raise ValueError(f"{paths.root}: no trial is COMPLETE")
    return status, result


def picked(status: StudyStatus, result: Result) -> TrialStatus:
    """The first trial of the best configuration."""
    return next(trial for trial in status.trials if trial.number == result.best.trials[0])


def bill(name: str, status: StudyStatus, result: Result) -> Sequence[str]:
    """One row."""
    trained = [trial for trial in status.trials if trial.steps]
    total = status.record.total_steps or 1
    began, ended = status.record.created_at, max(trial.ended_at or 0.0 for trial in trained)
    best = picked(status, result)
    return (
        name,
        str(sum(trial.role is Role.TUNING for trial in trained)),
        str(len(trained)),
        str(sum(trial.state is TrialState.COMPLETE for trial in trained)),
        f"{sum(trial.steps for trial in trained) / total:.1f}",
        f"{ended - began:.0f}",
        f"{sum(trial.seconds for trial in trained):.0f}",
        point(best),
        f"{result.best.mean:.4f}",
    )


def point(trial: TrialStatus) -> str:
    return " ".join(f"{knob}={value:.3g}" if isinstance(value, float) else f"{knob}={value}" for knob, value in trial.params.items())


def judge(name: str, experiment: Sequence[str], trial: TrialStatus) -> list[float]:
    """What the pick's configuration reaches with fresh seeds."""
    fixed = [f"{knob}=choice({value!r})" for knob, value in trial.params.items()]
    seeds = f"seed=choice({','.join(map(str, FRESH))})"
    grid = ("hydra/sweeper/sampler=grid", *WHOLE, f"hydra.sweeper.n_trials={len(FRESH)}")
    status, _ = look(warm.run(name, [*experiment, *grid, *fixed, seeds]))
    return [trial.values[0] for trial in status.trials if trial.values]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--name", default="compared", help="of the studies: NAME-plan, NAME-whole, NAME-judge-...; those that are whole are not run again"
    )
    asked, overrides = parser.parse_known_args()
    experiment = overrides or list(DEMO)
    heading()
    plan = look(warm.run(f"{asked.name}-plan", experiment))
    started = sum(trial.role is Role.TUNING and trial.steps > 0 for trial in plan[0].trials)
    whole = look(warm.run(f"{asked.name}-whole", [*experiment, *WHOLE, f"hydra.sweeper.n_trials={started}"]))
    picks = {name: picked(*study) for name, study in {"plan": plan, "whole": whole}.items()}
    table(
        ("study", "configurations", "trials", "complete", "full runs", "wall s", "s of trials", "picked", "its value there"),
        [bill("with its plan", *plan), bill("none stopped", *whole)],
    )
    if picks["plan"].params == picks["whole"].params:
        print("both picked the same configuration\n")
        return
    judged = {name: judge(f"{asked.name}-judge-{name}", experiment, trial) for name, trial in picks.items()}
    table(("picked by", "point", "fresh seeds", "mean", "values"), list(rows(judged, picks)))


def rows(judged: dict[str, list[float]], picks: dict[str, TrialStatus]) -> Iterable[Sequence[str]]:
    for name, values in judged.items():
        listed = " ".join(f"{value:.4f}" for value in values)
        yield name, point(picks[name]), str(len(values)), f"{statistics.fmean(values):.4f}", listed


if __name__ == "__main__":
    Path("outputs").mkdir(exist_ok=True)
    main()

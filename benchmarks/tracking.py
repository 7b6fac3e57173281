"""What a W&B server in trouble costs a study: python -m benchmarks.tracking [FOLDER]

The same study of the stand-in trainer, whose steps take 50 ms, untracked and then online with a server that is well, absent, refuses,
limits, fails, stalls, or disappears half-way: milliseconds a step of the median trial, and whether every trial ended as in the first study.
The last row is untracked again: what differs there is the host.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from wandb_server import Fault, WandbServer

from benchmarks.tables import heading, table
from harness import records
from harness.paths import StudyPaths, TrialPaths
from harness.types import AttemptResult, TrialResult

PACE = ("drill.step_s=0.05", "drill.startup_s=0.5", "steps=200", "resources.slots=1")
STUDY = ("-m", "experiment=drill", *PACE, "hydra.sweeper.n_trials=5", "hydra/sweeper/sampler=random")
HALF_WAY_S = 25.0
ONLINE = ("tracking=wandb", "tracking.mode=online")
TROUBLES: tuple[tuple[str, Callable[[WandbServer], None]], ...] = (
    ("well", lambda server: server.faults.set(Fault())),
    ("absent", lambda server: server.go()),
    ("401 to everything", lambda server: server.faults.set(Fault(status=401))),
    ("429 to everything", lambda server: server.faults.set(Fault(status=429))),
    ("500 to everything", lambda server: server.faults.set(Fault(status=500))),
    ("stalls 30 s", lambda server: server.faults.set(Fault(stall_s=30.0))),
    ("disappears half-way", lambda server: threading.Timer(HALF_WAY_S, server.go).start()),
)


def study(folder: Path, name: str, *more: str, environment: dict[str, str]) -> StudyPaths:
    words = [str(Path(sys.executable).with_name("verl-sweep")), *STUDY, f"study.name={name}", *more]
    subprocess.run(words, cwd=folder, env=os.environ | environment, stdout=subprocess.DEVNULL, check=True)
    return StudyPaths(folder / "outputs" / name)


def step_ms(trial: TrialPaths) -> float:
    """From the beginning of its training to its end."""
    attempt = trial.attempt(0)
    began = next(event.at for event in records.events(attempt.events) if event.name == "training")
    result = records.read(attempt.result, AttemptResult)
    return 1000 * (result.ended_at - began) / result.steps


def endings(study: StudyPaths) -> list[tuple[str, tuple[float, ...] | None]]:
    results = [records.read(trial.result, TrialResult) for trial in study.trials()]
    return [(result.state.value, result.values) for result in results]


def main(folder: Path) -> None:
    heading()
    rows = []
    first = study(folder, "untracked", environment={})
    plain = statistics.median(map(step_ms, first.trials()))
    rows.append(["untracked", f"{plain:.2f}", "", ""])
    for number, (name, trouble) in enumerate(TROUBLES):
        with WandbServer() as server:
            trouble(server)
            tracked = study(folder, f"online-{number}", *ONLINE, environment=server.environment)
        took = statistics.median(map(step_ms, tracked.trials()))
        same = sum(one == other for one, other in zip(endings(first), endings(tracked), strict=True))
        rows.append([name, f"{took:.2f}", f"{100 * (took / plain - 1):+.2f} %", f"{same} of {len(tracked.trials())}"])
    again = study(folder, "untracked-again", environment={})
    took = statistics.median(map(step_ms, again.trials()))
    rows.append(["untracked again", f"{took:.2f}", f"{100 * (took / plain - 1):+.2f} %", ""])
    table(["server", "ms a step", "against untracked", "trials that ended alike"], rows)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as made:
            main(Path(made))

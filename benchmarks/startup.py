"""How long the controller takes to start, next to Python itself: python -m benchmarks.startup"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.tables import heading, table

SCRIPTS = Path(sys.executable).parent
COMMANDS: dict[str, tuple[str, ...]] = {
    "python -c pass": (sys.executable, "-c", "pass"),
    'python -c "import hydra, optuna"': (sys.executable, "-c", "import hydra, optuna"),
    "verl-sweep --help": (str(SCRIPTS / "verl-sweep"), "--help"),
    "verl-sweep --cfg job": (str(SCRIPTS / "verl-sweep"), "--cfg", "job"),
    "verl-study --help": (str(SCRIPTS / "verl-study"), "--help"),
}


def seconds(argv: Sequence[str]) -> float:
    """Raises CalledProcessError."""
    began = time.perf_counter()
    subprocess.run(argv, check=True, capture_output=True, env={**os.environ, "COLUMNS": "140"})
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=7)
    repeat = parser.parse_args().repeat
    heading()
    measured: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(repeat + 1):  # by turns, so that a busy moment hits all alike
        for name, argv in COMMANDS.items():
            took = seconds(argv)
            if turn:  # the first fills the caches
                measured[name].append(took)
    median = {name: statistics.median(times) for name, times in measured.items()}
    python, libraries, *_ = median.values()
    rows = [
        (f"`{name}`", f"{took:.3f}", f"{min(measured[name]):.3f}", f"{took / python:.1f}", f"{took / libraries:.2f}")
        for name, took in median.items()
    ]
    table(("command", "median s", "least s", "times python", "times import hydra, optuna"), rows)


if __name__ == "__main__":
    main()

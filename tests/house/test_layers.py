"""Imports go down only: the floors are in pyproject.toml, and import-linter holds them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    script = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [script, "--no-cache", "--config", ROOT / "pyproject.toml"], cwd=folder, capture_output=True, text=True, check=False
    )


def test_every_floor_holds() -> None:
    ran = lint(ROOT)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("sweeps/grammar.py", "import analysis.tables", "sweeps decides, analysis reads"),
        ("harness/records.py", "import harness.supervisor", "imports go down"),
        ("harness/inside/engine.py", "import harness.launchers.local", "what runs in verl's processes"),
        ("harness/paths.py", "import optuna", "optuna and hydra live in sweeps"),
        ("sweeps/study.py", "import torch", "torch, verl and ray live in harness.inside"),
        ("sweeps/study.py", "import subprocess", "processes are started and signalled"),
        ("harness/command.py", "import wandb", "wandb has one home"),
    ],
)
def test_a_floor_that_is_broken_is_named(module: str, line: str, contract: str, tmp_path: Path) -> None:
    """In a copy, so that the contracts are known to look at what they say."""
    for package in ("harness", "sweeps", "analysis", "hydra_plugins"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / module).open("a") as file:
        file.write(f"\n{line}\n")
    ran = lint(tmp_path)
    assert ran.returncode == 1
    broken = ran.stdout.partition("Broken contracts")[2]
    assert contract in " ".join(broken.split())

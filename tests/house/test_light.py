"""What starts often starts light: the controller without torch, the supervisor without Optuna."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import commands
import pytest

HEAVY = {"torch", "verl", "ray", "vllm", "wandb", "transformers", "tensordict"}
OF_THE_CONTROLLER = {"optuna", "hydra", "omegaconf", "rich"}
SWEEP, STUDY = "from sweeps.app import main; main()", "from analysis.cli import main; main()"


def loaded(code: str, *arguments: str, cwd: Path) -> set[str]:
    """The top-level modules that are loaded when a program ends."""
    report = (
        "import atexit, sys; atexit.register(lambda: print('LOADED', *{name.partition('.')[0] for name in sys.modules}, file=sys.stderr))"
    )
    argv = [sys.executable, "-c", f"{report}\nsys.argv[0] = 'program'\n{code}", *arguments]
    ran = subprocess.run(argv, cwd=cwd, env=commands.environment(cwd), capture_output=True, text=True, check=False)
    (line,) = [line for line in ran.stderr.splitlines() if line.startswith("LOADED")]
    return set(line.split()[1:])


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        pytest.param("import sweeps.app, sweeps.launch, sweeps.sweeper", (), id="import"),
        pytest.param(SWEEP, ("--help",), id="verl-sweep --help"),
        pytest.param(SWEEP, ("--cfg", "job"), id="verl-sweep --cfg job"),
        pytest.param(SWEEP, ("-m", "experiment=drill", "resources.gpus_per_slot=1", "resources.gpus=[]"), id="up to the launch of a study"),
        pytest.param(STUDY, ("--help",), id="verl-study --help"),
        pytest.param(STUDY, ("import", "wandb://entity"), id="verl-study import"),
        pytest.param("import sys; from sweeps.doctor import main; main(sys.argv[1:])", ("experiment=smollm2_gpu",), id="doctor"),
    ],
)
def test_the_controller_loads_nothing_heavy(code: str, arguments: tuple[str, ...], tmp_path: Path) -> None:
    assert loaded(code, *arguments, cwd=tmp_path) & HEAVY == set()


@pytest.mark.parametrize("module", ["harness.supervisor", "harness.engine", "harness.drill"])
def test_what_stands_beside_an_engine_loads_nothing_of_the_controllers(module: str, tmp_path: Path) -> None:
    assert loaded(f"import {module}", cwd=tmp_path) & (HEAVY | OF_THE_CONTROLLER) == set()


def test_hydras_plugin_scan_loads_neither_optuna_nor_anything_heavy(tmp_path: Path) -> None:
    """Every process that uses Hydra, verl's too, imports our doors."""
    code = "from hydra.core.plugins import Plugins; Plugins.instance()"
    assert loaded(code, cwd=tmp_path) & (HEAVY | {"optuna", "sweeps"}) == set()

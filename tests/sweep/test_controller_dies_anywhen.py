"""Controllers are killed at random moments, some studies' more than once; the same command goes on, and each trial has run once.

test_controller_dies.py kills between two changes; here a kill may come in the midst of one. The seeds are fixed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import commands
import pytest
from commands import engine_specs, left_alive
from test_controller_dies import history

from harness.paths import StudyPaths

TRIALS = 4
STUDY = (
    "-m",
    "experiment=drill",
    "hydra/sweeper/sampler=random",
    "hydra/sweeper/pruner=none",
    "drill.startup_s=0",
    "drill.step_s=0.02",
    "steps=10",
    f"hydra.sweeper.n_trials={TRIALS}",
    "study.name=mortal",
)
SLOTS = (1, 2)
KILLS = (1, 3, 2, 2)  # of a study's controllers


def command(slots: int) -> tuple[str, ...]:
    return (*STUDY, f"resources.slots={slots}")


def finish(folder: Path, slots: int) -> float:
    """Seconds that the command took, which came to its end."""
    began = time.monotonic()
    done = commands.run("verl-sweep", *command(slots), cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    return time.monotonic() - began


def kill_after(seconds: float, folder: Path, slots: int) -> bool:
    """Whether there was a controller left to be killed."""
    controller = commands.start("verl-sweep", *command(slots), cwd=folder)
    time.sleep(seconds)
    lived = controller.poll() is None
    controller.kill()
    out, err = controller.communicate(timeout=commands.TIMEOUT_S)
    assert "Traceback" not in out + err
    return lived


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[dict[str, Any], float]]:
    """By slots: the history of a study that nobody disturbed, and how long its command took."""
    found = {}
    for slots in SLOTS:
        folder = tmp_path_factory.mktemp(f"undisturbed-{slots}")
        seconds = finish(folder, slots)
        found[slots] = history(StudyPaths(folder / "outputs" / "mortal")), seconds
    return found


def assert_goes_on(folder: Path, slots: int, moments: Sequence[float], undisturbed: tuple[dict[str, Any], float]) -> int:
    """`moments` are shares of an undisturbed command's time; how many controllers were killed alive."""
    expected, seconds = undisturbed
    study = StudyPaths(folder / "outputs" / "mortal")
    killed = sum([kill_after(moment * seconds, folder, slots) for moment in moments])
    finish(folder, slots)
    found = history(study)
    assert found == expected, f"killed after {[f'{moment * seconds:.2f} s' for moment in moments]} on {slots} slots"
    assert found["taken"] == [1] * TRIALS
    assert {state for _, state, _, _ in found["optuna"]} == {"COMPLETE"}
    assert left_alive(study) == []
    assert [spec.scratch for spec in engine_specs(study) if Path(spec.scratch).exists()] == []
    return killed


@pytest.mark.slow
def test_two_slots_find_what_one_finds(undisturbed: dict[int, tuple[dict[str, Any], float]]) -> None:
    """Else equality would say little."""
    one, two = undisturbed[1][0], undisturbed[2][0]
    assert one["proposals"] == two["proposals"]
    assert len({str(params) for params, _ in one["proposals"]}) == TRIALS
    assert one["steps"] == two["steps"] == [list(range(1, 11))] * TRIALS


@pytest.mark.parametrize(
    ("kills", "seed"),
    [pytest.param(3, 0, marks=pytest.mark.slow), pytest.param(200, 1, marks=[pytest.mark.slow, pytest.mark.timeout(7200)])],
    ids=["3 kills", "200 kills"],
)
def test_a_study_killed_at_any_moment_has_one_history(
    undisturbed: dict[int, tuple[dict[str, Any], float]], tmp_path: Path, kills: int, seed: int
) -> None:
    chance = random.Random(seed)
    killed = number = 0
    began = time.monotonic()
    while killed < kills:  # of living ones: a later controller of a study, or one on a host that has less to do, ends before its moment
        slots = SLOTS[number % 2]
        moments = [chance.random() for _ in range(KILLS[number % 4])]
        folder = tmp_path / str(number)
        folder.mkdir()
        killed += assert_goes_on(folder, slots, moments, undisturbed[slots])
        number += 1
        print(f"{killed} living controllers killed, {number} studies, {time.monotonic() - began:.0f} s", flush=True)

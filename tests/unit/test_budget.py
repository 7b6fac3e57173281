"""When a study's budget is spent: pure rules over what its records tell."""

from __future__ import annotations

from pathlib import Path

import pytest
from factory import StudyFactory

from harness.errors import ConfigError
from harness.status import StudyStatus, load_study
from harness.types import Direction, Objective, Role, TrialState
from sweeps.budget import Budget, BudgetWatch, flat, over, read_budget, spent

NONE = {"gpu_hours": 0, "wall_hours": 0, "flat_trials": 0, "flat_by": 0}


def budget(**limits: float) -> Budget:
    return read_budget({**NONE, **limits}, objectives=1)


def study(folder: Path, *values: float | None, direction: Direction = Direction.MAXIMIZE) -> StudyStatus:
    """Trials that ended one after the other, each after an hour on one GPU; None: pruned."""
    factory = StudyFactory(folder, "s", objectives=(Objective(metric="val-core/*", direction=direction),))
    for number, value in enumerate(values):
        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        factory.ended(number, state, values=None if value is None else (value,), seconds=3600.0, gpu_seconds=3600.0)
    return load_study(factory.paths)


def test_a_budget_of_nothing_is_never_spent(tmp_path: Path) -> None:
    assert spent(budget(), study(tmp_path, 0.1, 0.1, 0.1)) is None
    assert over(budget(), 1e9) is None


def test_gpu_hours_are_those_of_all_trials_however_they_ended(tmp_path: Path) -> None:
    status = study(tmp_path, 0.1, None, 0.2)
    assert spent(budget(gpu_hours=3.5), status) is None
    assert spent(budget(gpu_hours=3), status) == "3.00 of 3 GPU-hours are spent (budget.gpu_hours)"


def test_a_launch_is_over_after_its_hours() -> None:
    assert over(budget(wall_hours=2), 7199) is None
    assert over(budget(wall_hours=2), 7200) == "this launch has run for 2h00m of 2 hours (budget.wall_hours)"


def test_a_study_is_flat_when_the_last_complete_trials_were_no_better(tmp_path: Path) -> None:
    status = study(tmp_path, 0.1, 0.5, 0.4, None, 0.5, 0.52)
    assert flat(budget(flat_trials=2), status) is None, "the last one was better"
    told = flat(budget(flat_trials=3, flat_by=0.05), status)
    assert told == "the last 3 complete trials were not better than the best before them (budget.flat_trials)"


def test_replicates_neither_count_nor_are_the_best(tmp_path: Path) -> None:
    factory = StudyFactory(tmp_path, "s", objectives=(Objective(metric="val-core/*"),))
    for number, (value, role) in enumerate([(0.5, Role.TUNING), (0.9, Role.REPLICATE), (0.4, Role.CONFIRMATION), (0.6, Role.TUNING)]):
        factory.ended(number, values=(value,), role=role)
    assert flat(budget(flat_trials=1), load_study(factory.paths)) is None


def test_less_is_better_where_it_is_minimized(tmp_path: Path) -> None:
    status = study(tmp_path, 0.5, 0.6, 0.4, 0.41, direction=Direction.MINIMIZE)
    assert flat(budget(flat_trials=1), status) is not None
    assert flat(budget(flat_trials=2), status) is None


def test_the_user_is_told_once_and_the_word_stands(tmp_path: Path) -> None:
    said: list[str] = []
    watch = BudgetWatch(budget(gpu_hours=1), lambda: study(tmp_path / str(len(said)), 0.1), said.append)
    assert watch.is_spent()
    assert watch.is_spent()
    assert said == ["1.00 of 1 GPU-hours are spent (budget.gpu_hours): no more trials are started, those that run go on"]


@pytest.mark.parametrize(
    ("node", "objectives", "words"),
    [
        ({"gpu_hours": -1}, 1, "budget.gpu_hours: expected a number of 0 or more, got -1"),
        ({"flat_trials": 2.5}, 1, "budget.flat_trials: expected a whole number, got 2.5"),
        ({"hours": 1}, 1, "budget.hours: expected one of gpu_hours, wall_hours, flat_trials, flat_by"),
        ({"flat_trials": 2}, 2, "budget.flat_trials: with several objectives"),
    ],
)
def test_what_is_no_budget_is_refused(node: dict[str, float], objectives: int, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_budget({**NONE, **node}, objectives=objectives)
    assert words in str(caught.value)

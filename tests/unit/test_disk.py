"""Which checkpoints of a study stay, on real folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import records
from harness.paths import StudyPaths
from harness.types import Direction, Objective, Reason, TrialResult, TrialState
from sweeps.disk import CheckpointKeeper, Ended, Paused, least_promising, superfluous

UP, DOWN = Objective(metric="a"), Objective(metric="b", direction=Direction.MINIMIZE)
MIB = 2**20


def kept(number: int, state: TrialState, *values: float, of: str = "") -> Ended:
    return Ended(number=number, state=state, values=values or None, configuration=of)


def test_the_best_stay_whichever_way_is_better() -> None:
    trials = [kept(0, TrialState.COMPLETE, 0.1), kept(1, TrialState.COMPLETE, 0.3), kept(2, TrialState.COMPLETE, 0.2)]
    assert superfluous(trials, (UP,), 1) == [0, 2]
    assert superfluous(trials, (DOWN,), 1) == [1, 2]
    assert superfluous(trials, (UP,), 2) == [0]
    assert superfluous(trials, (UP,), 0) == [0, 1, 2]


def test_of_a_configuration_with_several_seeds_its_best_trial_stays_and_a_lucky_seed_does_not_beat_it() -> None:
    tried = [(0, 0.9, "lucky"), (1, 0.5, "good"), (2, 0.7, "good"), (3, 0.6, "good"), (4, 0.2, "bad"), (5, 0.8, "bad")]
    trials = [kept(number, TrialState.COMPLETE, value, of=of) for number, value, of in tried]
    assert superfluous(trials, (UP,), 1) == [0, 1, 3, 4, 5]
    assert superfluous(trials, (UP,), 2) == [0, 1, 3, 4]
    assert superfluous(trials, (UP,), 3) == [1, 3, 4]


def test_pruned_trials_go_and_failed_ones_stay() -> None:
    trials = [kept(0, TrialState.PRUNED), kept(1, TrialState.FAIL), kept(2, TrialState.COMPLETE, 0.2)]
    assert superfluous(trials, (UP,), 1) == [0]


def test_nobody_on_the_pareto_front_is_beaten() -> None:
    trials = [kept(0, TrialState.COMPLETE, 0.1, 1.0), kept(1, TrialState.COMPLETE, 0.3, 2.0), kept(2, TrialState.COMPLETE, 0.1, 3.0)]
    assert superfluous(trials, (UP, DOWN), 1) == [2]


@pytest.fixture
def study(tmp_path: Path) -> StudyPaths:
    return StudyPaths(tmp_path / "study")


def add(study: StudyPaths, number: int, state: TrialState | None, value: float | None = None, mib: int = 1) -> None:
    """A trial with a checkpoint; without a state it runs."""
    paths = study.trial(number)
    step = paths.checkpoints / "global_step_1" / "actor"
    step.mkdir(parents=True)
    (step / "model.pt").write_bytes(b"x" * mib * MIB)
    if state is None:
        return
    result = TrialResult(
        number=number,
        state=state,
        reason=Reason.FINISHED,
        message="",
        values=None if value is None else (value,),
        steps=1,
        attempts=1,
        seconds=1.0,
        gpu_seconds=0.0,
        startup_s=None,
        slot="cpu:0",
        ended_at=0.0,
    )
    records.write(paths.result, result)


def left(study: StudyPaths) -> list[int]:
    return [paths.number for paths in study.trials() if paths.checkpoints.exists()]


def test_a_running_trial_keeps_its_checkpoints(study: StudyPaths) -> None:
    keeper = CheckpointKeeper(study, (UP,), keep_best=1, cap=0, say=print)
    add(study, 0, TrialState.COMPLETE, 0.1)
    add(study, 1, None)
    add(study, 2, TrialState.COMPLETE, 0.2)
    add(study, 3, TrialState.PRUNED)
    keeper.tidy({})
    assert left(study) == [1, 2]


def test_above_the_cap_failed_trials_go_too_and_then_nobody_saves_any_more(study: StudyPaths) -> None:
    said: list[str] = []
    keeper = CheckpointKeeper(study, (UP,), keep_best=None, cap=3 * MIB, say=said.append)
    add(study, 0, TrialState.FAIL, mib=2)
    add(study, 1, TrialState.FAIL, mib=1)
    add(study, 2, TrialState.COMPLETE, 0.5, mib=2)
    keeper.tidy({})
    assert left(study) == [1, 2]
    assert (keeper.full, said) == (False, [])
    add(study, 3, TrialState.COMPLETE, 0.4, mib=2)
    keeper.tidy({})
    assert left(study) == [2, 3]
    assert keeper.full
    keeper.tidy({})
    assert len(said) == 1
    assert said[0].startswith("checkpoints take 0.00391 GiB, more than checkpoints.cap_gib=")


def test_without_a_number_all_stay(study: StudyPaths) -> None:
    add(study, 0, TrialState.PRUNED)
    CheckpointKeeper(study, (UP,), keep_best=None, cap=0, say=print).tidy({})
    assert left(study) == [0]


def test_above_the_cap_the_least_promising_of_the_paused_are_named_as_many_as_it_takes(study: StudyPaths) -> None:
    keeper = CheckpointKeeper(study, (UP,), keep_best=1, cap=5 * MIB, say=print)
    for number in range(4):
        add(study, number, None, mib=2)
    paused = {0: Paused(steps=3, value=0.4), 1: Paused(steps=3, value=0.1), 2: Paused(steps=6, value=0.2)}
    assert keeper.tidy(paused) == [1, 0]
    assert left(study) == [0, 1, 2, 3], "whoever gives them up removes them"
    keeper.remove([1, 0])
    assert keeper.tidy({2: paused[2]}) == []
    assert not keeper.full


def test_the_least_promising_came_least_far_and_stood_worst() -> None:
    paused = {0: Paused(steps=6, value=0.1), 1: Paused(steps=3, value=0.4), 2: Paused(steps=3, value=0.2), 3: Paused(steps=3, value=None)}
    assert least_promising(paused, UP) == [3, 2, 1, 0]
    assert least_promising({0: paused[1], 1: paused[2]}, DOWN) == [0, 1]

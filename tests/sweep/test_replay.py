"""A replay is the study's own loop over recorded runs: honest in its costs, repeatable by its seed, right where the answer is clear."""

from __future__ import annotations

import functools
import json
import math
import random
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from commands import run, start
from factory import StudyFactory, drill_curve
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import ladder, task, write_curves

from harness.errors import ConfigError
from harness.types import Direction, Reason, TrialState
from sweeps.replay.campaign import play_all
from sweeps.replay.play import Game, Played, play
from sweeps.replay.policy import DEFAULT, PRESETS, Policy, read_policies, read_policy
from sweeps.replay.runner import RESTORE_COST, SimulatedRunner
from sweeps.replay.tasks import Task
from sweeps.replay.verdict import as_data
from sweeps.runner import Outcome, Proposal, Update

NAMES = sorted([DEFAULT, *(path.stem for path in PRESETS.glob("*.yaml"))])
TPE = {"_target_": "optuna.samplers.TPESampler", "seed": None, "n_startup_trials": 4}


@functools.cache
def policy_of(name: str) -> Policy:
    """Composed when a test wants it: a fifth of a second each."""
    return read_policy(name, 20)


def games(one: Task, policy: Policy, *, runs: float, slots: int = 1, seed: int = 0, repeat: int = 4) -> list[Played]:
    return [play(one, policy, Game(runs=runs, slots=slots, seed=seed), repetition) for repetition in range(repeat)]


# what is found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("slots", [1, 4])
def test_where_nothing_is_noisy_and_the_budget_is_ample_every_policy_finds_the_best(name: str, slots: int) -> None:
    clear = task(ladder(10))
    assert {one.pick for one in games(clear, policy_of(name), runs=60, slots=slots)} == {9}
    assert {one.pick for one in games(clear.toward(Direction.MINIMIZE), policy_of(name), runs=60, slots=slots)} == {0}


def test_a_sampler_that_learns_finds_more_than_a_random_one() -> None:
    smooth = task(ladder(200, seeds=1))
    policies = (policy_of("random"), replace(policy_of("random"), sampler=TPE))
    random_regret, learned = (np.mean([smooth.regrets()[one.pick] for one in games(smooth, policy, runs=20)]) for policy in policies)
    assert learned < random_regret / 2


def test_random_sampling_never_takes_a_configuration_twice() -> None:
    assert {one.pick for one in games(task(ladder(10, seeds=1)), policy_of("random"), runs=10)} == {9}


def test_a_run_that_diverged_fails_and_is_not_picked() -> None:
    perf = ladder(4)
    perf[3, :, 6:] = math.nan
    perf[2, 0, 6:] = math.nan
    broken = task(perf)
    assert broken.truths() == (1.0, 2.0, pytest.approx((1 + 3 + 3) / 3), 1.0), "one that diverged counts as the worst end"
    assert set(broken.regrets()) == {0.5, 0.0, 0.25}
    assert {one.pick for one in games(broken, policy_of("random"), runs=4)} <= {1, 2}
    assert {one.pick for one in games(task(np.full((3, 2, 5), math.nan)), policy_of("random"), runs=4)} <= {0, 1, 2}


# what it costs


@settings(max_examples=25, deadline=None)
@given(runs=st.floats(1, 30), slots=st.integers(1, 7), name=st.sampled_from(NAMES), seed=st.integers(0, 99))
def test_no_policy_spends_more_than_it_was_given(runs: float, slots: int, name: str, seed: int) -> None:
    perf = ladder(40, noise=10.0, seed=seed)
    perf[::7, 1, 4:] = math.nan
    try:
        (one,) = games(task(perf), policy_of(name), runs=runs, slots=slots, repeat=1)
    except ConfigError:
        return  # a plan may refuse what is too little for it
    assert 0 < one.full_runs <= runs + 1e-6
    assert one.clock > 0


def test_without_pruning_the_budget_is_spent_whole_and_slots_share_the_time() -> None:
    noisy = task(ladder(40, noise=5.0))
    alone, together = (games(noisy, policy_of("random"), runs=20, slots=slots, repeat=1)[0] for slots in (1, 4))
    assert alone.full_runs == together.full_runs == 20
    assert 16 < alone.clock < 24
    assert alone.clock / 5 < together.clock < alone.clock / 2.5


def test_a_pruner_lets_more_configurations_be_tried_at_the_same_cost() -> None:
    many = task(ladder(100, seeds=1))
    asha, random_ = (games(many, policy_of(name), runs=10, repeat=8) for name in ("asha", "random"))
    assert np.mean([one.pick for one in asha]) > np.mean([one.pick for one in random_])


@pytest.mark.parametrize("slots", [1, 16])
@pytest.mark.parametrize(
    ("name", "runs", "bill"),
    [
        ("top_ten", 64, 34 + 10 * 3),
        ("strong", 40.2, 100 * 0.1 + 33 * (0.2 + RESTORE_COST) + 11 * (0.7 + RESTORE_COST) + 5 * 3),
        ("strong", 20, 50 * 0.1 + 16 * (0.2 + RESTORE_COST) + 5 * (0.7 + RESTORE_COST) + 2 * 3),
    ],
)
def test_the_references_that_wait_cost_what_their_definitions_say(name: str, runs: float, bill: float, slots: int) -> None:
    (one,) = games(task(ladder(256, seeds=5, noise=20.0)), read_policy(name, runs), runs=runs, slots=slots, repeat=1)
    assert one.full_runs == pytest.approx(bill)


# the luck of it


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_everything_and_another_one_something(name: str) -> None:
    noisy = task(ladder(40, noise=10.0))
    first, again, other = (games(noisy, policy_of(name), runs=16, slots=3, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_processes_and_the_order_of_tasks_change_nothing(tmp_path: Path) -> None:
    tasks = [replace(task(ladder(12, noise=3.0, seed=seed)), name=f"task-{seed}") for seed in range(3)]
    game = Game(runs=5, slots=2, seed=0)
    together = play_all(tasks, policy_of("random"), game, repeat=2)
    alone = [verdict for one in reversed(tasks) for verdict in play_all([one], policy_of("random"), game, repeat=2)]
    assert together == alone[::-1]


# the runner


def simulated(*, slots: int = 2, budget: float | None = None, curve: Iterable[float] = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)) -> SimulatedRunner:
    one = task([[list(curve)]])
    return SimulatedRunner(
        recording=lambda proposal: one.curves_cs[0][0],
        objective=one.objective,
        total_steps=one.total_steps,
        slots=slots,
        draw=random.Random(0),
        budget=budget,
    )


def proposal(number: int) -> Proposal:
    return Proposal(number=number, params={}, overrides=())


def until_end(runner: SimulatedRunner) -> list[Update]:
    found: list[Update] = []
    while not found or found[-1].outcome is None:
        found += runner.updates()
    return found


def test_a_trial_reports_each_recorded_step_and_ends_with_its_last_value() -> None:
    runner = simulated()
    assert runner.start(proposal(0)) is None
    updates = until_end(runner)
    assert [point for update in updates for point in update.points] == [(step, float(step)) for step in range(1, 11)]
    assert updates[-1].outcome is not None
    assert updates[-1].outcome.values == (10.0,)
    assert (runner.spent, runner.free()) == (1.0, 2)


def test_a_trial_that_is_asked_to_stop_ends_at_the_step_that_it_has_come_to() -> None:
    runner = simulated()
    runner.start(proposal(0))
    for update in runner.updates():
        if update.outcome is None:
            runner.stop(update.number, Reason.PRUNED, "weak")
        else:
            assert update.outcome == Outcome(state=TrialState.PRUNED, reason=Reason.PRUNED, message="weak")
    assert runner.spent == 0.1


def test_going_on_after_a_pause_costs_a_restore_and_begins_where_it_stood() -> None:
    runner = simulated()
    runner.start(proposal(0))
    runner.stop(0, Reason.PAUSED, "")
    assert [update.outcome.state for update in runner.updates() if update.outcome] == [TrialState.WAITING]
    assert runner.free() == 2
    runner.start(proposal(0))
    assert [point[0] for update in until_end(runner) for point in update.points] == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert runner.spent == pytest.approx(1 + RESTORE_COST)


def test_a_paused_trial_that_is_given_up_is_told_at_once() -> None:
    runner = simulated()
    runner.start(proposal(0))
    runner.stop(0, Reason.PAUSED, "")
    list(runner.updates())
    runner.stop(0, Reason.PRUNED, "no hope")
    assert [update.outcome.message for update in runner.updates() if update.outcome] == ["no hope"]


def test_a_trial_starts_only_where_all_that_runs_could_still_train_to_its_end() -> None:
    runner = simulated(slots=4, budget=2.5)
    for number in range(runner.free()):
        runner.start(proposal(number))
    assert (runner.free(), runner.exhausted) == (0, False)
    runner.stop(0, Reason.PRUNED, "")
    while runner.free() == 0:
        list(runner.updates())
    assert runner.spent < 1.5, "what one that was stopped did not use is there for the next"


def test_the_clock_runs_by_each_trials_own_pace() -> None:
    runner = simulated()
    for number in range(2):
        runner.start(proposal(number))
    order = [update.number for _ in range(20) for update in runner.updates() if update.points]
    assert order != sorted(order)
    assert order != [0, 1] * 10
    assert 0.8 <= runner.clock <= 1.2


# policies


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_is_composed_and_named(name: str) -> None:
    assert read_policy(name, 10).name == name


def test_the_default_is_what_the_demo_launches_with() -> None:
    assert replace(read_policy("experiment=demo", 10), name=DEFAULT) == read_policy(DEFAULT, 10)


def test_a_yaml_of_the_users_own_may_take_options_and_change_them(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "defaults:\n  - sampler: tpe\n  - pruner: asha\n  - plan: once\n  - _self_\npruner:\n  min_resource: 1\n"
    )
    (mine, random_) = read_policies(f"{tmp_path / 'mine.yaml'},random", 10)
    assert (mine.name, random_.name) == ("mine", "random")
    assert (mine.pruner["min_resource"], mine.pruner["_target_"]) == (1, "sweeps.pruners.asha.AshaPruner")
    assert mine.sampler["_target_"] == "optuna.samplers.TPESampler"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sampler: [1", "mine.yaml"),
        ("defaults:\n  - sampler: nope\n", "Could not find 'sampler/nope'"),
        ("defaults:\n  - sampler: random\n  - pruner: none\n", "expected plan, an option of hydra/sweeper/plan"),
        ("defaults:\n  - sampler: random\n  - pruner: none\n  - plan: once\n  - _self_\nseeds: 3\n", "not 'seeds'"),
        (
            "defaults:\n  - sampler: random\n  - pruner: asha\n  - plan: once\n  - _self_\npruner:\n  resource: tokens\n",
            "its pruner counts tokens, and nobody recorded these",
        ),
    ],
)
def test_a_policy_that_cannot_be_read_is_refused_in_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words) as refused:
        read_policy(str(tmp_path / "mine.yaml"), 10)
    assert "\n" not in str(refused.value)


def test_a_policy_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"no 'ash'; expected .*default.*asha"):
        read_policy("ash", 10)


# the command


def test_one_json_object_says_regret_cost_and_picks(tmp_path: Path) -> None:
    folder = write_curves(tmp_path / "curves", "clear", ladder(6))
    write_curves(folder, "noisy", ladder(6, noise=2.0))
    done = run("verl-study", "replay", str(folder), "--policy", "random", "--runs", "6", "--repeat", "3", "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert {"mean_regret", "full_runs", "tasks"} <= told.keys()
    assert told["tasks"].keys() == {"clear", "noisy"}
    assert told["tasks"]["clear"] == {"regret": 0.0, "regret_interval": [0.0, 0.0], "full_runs": 6.0, "picks": [5, 5, 5]}
    assert told["mean_regret"] == pytest.approx((told["tasks"]["clear"]["regret"] + told["tasks"]["noisy"]["regret"]) / 2)
    assert told["full_runs"] == 6


def test_a_past_study_is_replayed_by_its_name_and_its_trials_are_picked(tmp_path: Path) -> None:
    study = StudyFactory(tmp_path / "outputs")
    for number in range(6):
        study.ended(number)
    words = ("--policy", "random", "--runs", "6", "--repeat", "2", "--json", "--outputs", str(study.outputs))
    done = run("verl-study", "replay", study.name, *words, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    best = max(range(6), key=lambda number: drill_curve(number, 30, 30)[-1])
    assert json.loads(done.stdout)["tasks"][study.name]["picks"] == [best, best]


def test_several_policies_stand_side_by_side_on_the_same_luck(tmp_path: Path) -> None:
    folder = write_curves(tmp_path / "curves", "noisy", ladder(30, noise=3.0))
    words = ("replay", str(folder), "--policy", "random,asha", "--runs", "8", "--repeat", "2", "--direction", "minimize")
    table, both = (run("verl-study", *words, *more, cwd=tmp_path) for more in ((), ("--json",)))
    alone = run("verl-study", *words[:3], "asha", *words[4:], "--json", cwd=tmp_path)
    assert "random: regret" in table.stdout
    assert json.loads(both.stdout)["asha"] == json.loads(alone.stdout)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (("--policy", "nope"), "verl-study: --policy: no 'nope'; expected "),
        (("--runs", "0.5"), "random: 0.5 full runs are too few to start one trial"),
        (("--runs", "-1"), "argument --runs: expected a number above 0"),
        (("--repeat", "0"), "argument --repeat: expected 1 or more"),
    ],
)
def test_what_cannot_be_played_is_refused_in_one_sentence(tmp_path: Path, changed: tuple[str, str], words: str) -> None:
    folder = write_curves(tmp_path / "curves", "clear", ladder(4))
    options = {"--policy": "random", "--runs": "4", "--repeat": "1"} | dict([changed])
    done = run("verl-study", "replay", str(folder), *(word for pair in options.items() for word in pair), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_when_the_command_is_killed_its_processes_are_gone(tmp_path: Path) -> None:
    folder = write_curves(write_curves(tmp_path / "curves", "one", ladder(200)), "two", ladder(200))
    with start("verl-study", "replay", str(folder), "--policy", "random", "--runs", "100", "--repeat", "10000", cwd=tmp_path) as command:
        while len(children := psutil.Process(command.pid).children()) < 3:  # two that play, and the one that watches over their semaphores
            assert command.poll() is None
            time.sleep(0.05)
        command.kill()
    assert psutil.wait_procs(children, timeout=30)[1] == []


def test_intervals_are_of_the_repetitions_and_of_the_tasks() -> None:
    tasks = [replace(task(ladder(30, noise=8.0, seed=seed)), name=f"task-{seed}") for seed in range(4)]
    data = as_data([verdict for one in tasks for verdict in play_all([one], policy_of("random"), Game(runs=4, slots=1, seed=0), repeat=6)])
    for name in ("regret_interval", "regret_interval_of_tasks"):
        low, high = data[name]
        assert low < data["mean_regret"] < high

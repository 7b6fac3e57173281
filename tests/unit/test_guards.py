"""Guards fire on what is planted, with its code and its evidence, and let pass what is only noise."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.guards import PLANTED, RAMP, defaults, detections, false_alarms, judged, sick
from harness.guards import Watch, peers_of
from harness.types import GuardAction, GuardSettings, GuardVerdict, MetricPoint

DEFAULTS = defaults()
KL, ENTROPY, REWARD = "actor/kl_loss", "actor/entropy", "critic/rewards/mean"
PATIENCE = 5


def alone(series: Iterable[dict[str, float]], using: GuardSettings = DEFAULTS) -> list[GuardVerdict]:
    """The first verdict of each guard on a trial without peers."""
    watch, found = Watch.over(0, using, peers_of(using)), []
    for step, values in enumerate(series, 1):
        for verdict in watch.add(MetricPoint(step=step, values=values)):
            watch.dismiss(verdict.code)
            found.append(verdict)
    return found


def levels(metric: str, values: Sequence[float], *, reward: Sequence[float] | float = 0.2) -> list[dict[str, float]]:
    rewards = [reward] * len(values) if isinstance(reward, float) else reward
    return [{metric: value, REWARD: then} for value, then in zip(values, rewards, strict=True)]


def without(code: str) -> GuardSettings:
    return dataclasses.replace(DEFAULTS, levels=tuple(level for level in DEFAULTS.levels if level.code != code))


@pytest.mark.parametrize("code", PLANTED)
def test_a_planted_collapse_is_found_by_its_own_guard(code: str) -> None:
    found = detections(code, 2, DEFAULTS)
    assert sum(delay is not None for delay in found) >= 0.75 * len(found)
    assert all(delay >= min(RAMP, 3) for delay in found if delay is not None)


def test_of_healthy_noisy_trials_one_in_a_hundred_at_most_is_touched() -> None:
    assert false_alarms(480, DEFAULTS)["any"] <= 4


def test_a_verdict_names_code_metric_steps_values_and_threshold() -> None:
    (verdict,) = alone(levels(KL, [0.1] * 20 + [4.0, 4.1, 4.2, 4.3, 4.4, 9.0]))
    assert (verdict.code, verdict.metric, verdict.action) == ("kl_blow_up", KL, GuardAction.STOP)
    assert verdict.steps == (21, 22, 23, 24, 25)
    assert verdict.values == (4.0, 4.1, 4.2, 4.3, 4.4)
    assert verdict.threshold == 2.0
    assert verdict.message == "kl_blow_up: actor/kl_loss 4.2 at steps 21 to 25, above 2"


@given(wild=st.lists(st.integers(min_value=6, max_value=200), max_size=40), size=st.floats(min_value=10, max_value=1e30))
@settings(max_examples=50)
def test_no_guard_fires_while_no_value_is_far_out_longer_than_its_patience(wild: list[int], size: float) -> None:
    kept = {step for step in wild if step % PATIENCE}  # never five in a row
    series = [size if step in kept else 0.1 for step in range(1, 201)]
    assert alone(levels(KL, series)) == []


def test_the_first_steps_are_the_trials_beginning_and_are_not_judged() -> None:
    assert alone(levels(KL, [50.0] * DEFAULTS.grace_steps + [0.1] * 20)) == []


def test_an_entropy_that_began_low_has_not_collapsed() -> None:
    assert alone(levels(ENTROPY, [0.005] * 50)) == []
    (verdict,) = alone(levels(ENTROPY, [0.5] * 10 + [0.005] * 10))
    assert verdict.message == "entropy_collapse: actor/entropy 0.005 at steps 11 to 15, 0.01 times what it began with"


def test_a_policy_that_is_sure_because_it_has_learned_is_spared() -> None:
    learned = levels(ENTROPY, [0.5] * 10 + [0.001] * 60, reward=[0.1] * 10 + [0.98] * 60)
    assert alone(learned) == []


def test_a_policy_that_lost_most_of_what_it_had_learned_is_not_spared() -> None:
    rewards = [0.1] * 10 + [0.8] * 20 + [0.3] * 20
    (verdict,) = alone(levels(KL, [0.1] * 30 + [9.0] * 20, reward=rewards))
    assert verdict.steps[0] >= 31


def test_what_all_peers_do_is_no_trials_fault() -> None:
    together = [levels(KL, [0.1] * 10 + [4.0] * 20) for _ in range(5)]
    assert not any(judged(together, DEFAULTS).values())


def test_one_of_several_peers_that_goes_its_own_way_is_found_and_compared() -> None:
    peers = peers_of(DEFAULTS)
    for number in range(1, 7):
        for step in range(1, 41):
            peers.add(number, MetricPoint(step=step, values={KL: 0.5}))
    watch = Watch.over(0, DEFAULTS, peers)
    found = [watch.add(MetricPoint(step=step, values=values)) for step, values in enumerate(levels(KL, [0.1] * 30 + [6.0] * 5), 1)]
    assert [verdict.message for verdict in found[-1]] == ["kl_blow_up: actor/kl_loss 6 at steps 31 to 35, 12 times the median of 6 peers"]


def test_peers_that_ended_long_before_a_step_are_not_asked_about_it() -> None:
    peers = peers_of(DEFAULTS)
    for number in range(1, 7):
        peers.add(number, MetricPoint(step=10, values={KL: 0.5}))
    assert [len(peers.at(step, KL, but=0)) for step in (9, 10, 12, 13)] == [0, 6, 6, 0]


def test_only_the_latest_trials_are_remembered() -> None:
    peers = peers_of(dataclasses.replace(DEFAULTS, peers=3))
    for number in range(10):
        peers.add(number, MetricPoint(step=1, values={KL: float(number)}))
    assert peers.at(1, KL, but=9) == [6.0, 7.0, 8.0]


def test_rewards_that_are_all_alike_are_no_signal_unless_the_task_was_learned() -> None:
    def scores(high: float, low: float, mean: float) -> dict[str, float]:
        return {"critic/score/max": high, "critic/score/min": low, "critic/score/mean": mean}

    beginning = [scores(1, 0, 0.2)] * 10
    assert [verdict.code for verdict in alone(beginning + [scores(0, 0, 0)] * 20)] == ["no_signal"]
    assert alone(beginning + [scores(0, 0, 0)] * 19 + beginning) == []
    assert alone(beginning + [scores(1, 1, 1)] * 50) == []


def test_nan_of_a_loss_is_told_by_name_and_that_of_a_validation_is_not_its_business() -> None:
    healthy = {"actor/pg_loss": 0.1, "val-aux/x": math.nan, REWARD: 0.2}
    sick = {**healthy, "actor/pg_loss": math.nan}
    assert alone([healthy] * 50 + [sick] * 2 + [healthy] * 50) == []
    (verdict,) = alone([healthy] * 5 + [sick] * 3)
    assert (verdict.code, verdict.metric, verdict.steps, verdict.values) == ("non_finite", "actor/pg_loss", (6, 7, 8), (None, None, None))
    assert verdict.message == "non_finite: actor/pg_loss at steps 6 to 8, NaN or infinite"


def test_lines_of_the_same_step_count_as_one() -> None:
    watch = Watch.over(0, DEFAULTS, peers_of(DEFAULTS))
    sick = MetricPoint(step=7, values={"actor/pg_loss": math.inf, KL: 50.0})
    assert [watch.add(sick) for _ in range(30)] == [[]] * 30


def test_steps_that_are_logged_again_after_a_resumption_change_nothing() -> None:
    def verdicts(steps: Iterable[int]) -> list[list[GuardVerdict]]:
        watch = Watch.over(0, DEFAULTS, peers_of(DEFAULTS))
        return [
            found for step in steps if (found := watch.add(MetricPoint(step=step, values={KL: 0.1 if step < 30 else 9.0, REWARD: 0.2})))
        ]

    assert verdicts([*range(1, 33), *range(20, 50)]) == verdicts(range(1, 50))


def test_a_watch_that_reads_the_same_points_again_says_the_same() -> None:
    trials = [list(sick(code, seed)) for seed, code in enumerate(PLANTED)]
    assert judged(trials, DEFAULTS) == judged(trials, DEFAULTS)
    assert all(codes for codes in judged(trials, DEFAULTS).values())


@pytest.mark.parametrize("code", [level.code for level in DEFAULTS.levels])
def test_a_level_guard_that_is_off_never_fires(code: str) -> None:
    assert all(delay is None for delay in detections(code, 1, without(code)))


def test_a_marking_guard_leaves_the_trial_to_go_on() -> None:
    speeds = levels("perf/throughput", [1000.0] * 20 + [100.0] * 30)
    assert [(verdict.code, verdict.action) for verdict in alone(speeds)] == [("throughput_collapse", GuardAction.MARK)]


@pytest.mark.parametrize("values", [{}, {KL: math.nan}, {KL: -math.inf}, {KL: -1e308}, {"x": 1e308, "y": 1e308}, {REWARD: math.nan}])
def test_any_values_are_taken(values: dict[str, float]) -> None:
    assert {verdict.code for verdict in alone([values] * 30)} <= {"non_finite"}

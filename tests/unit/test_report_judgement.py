"""Claims about what a report finds in a study: what it leaves open, what it cost, what was stopped too early, what a knob shows."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from factory import KL, LR, METRIC, N, StudyFactory, whole_study

from analysis.report.axes import Axis, leads
from analysis.report.bill import bill
from analysis.report.content import Content, content
from analysis.report.facts import Facts, Standing, read_facts
from analysis.report.importance import importances
from analysis.report.limits import limits, within
from analysis.report.series import read_series, thinned
from analysis.report.unresolved import Doubt, Matter
from harness import records
from harness.domains import Choices, Domain, Range
from harness.status import load_study
from harness.types import GuardAction, GuardRecord, GuardVerdict, Objective, Role, Slot, TrialState

SPACE = {
    LR: '{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.0001, "log": true}}',
    KL: '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.01, "log": true}}',
    N: '{"name": "CategoricalDistribution", "attributes": {"choices": [4, 8, 16]}}',
}


def facts_of(study: StudyFactory) -> Facts:
    return read_facts(load_study(study.paths))


def made(study: StudyFactory) -> Content:
    return content(facts_of(study))


def found(study: StudyFactory, matter: Matter) -> list[Doubt]:
    return [doubt for doubt in made(study).doubts if doubt.matter is matter]


def with_space(study: StudyFactory, space: dict[str, str] = SPACE) -> StudyFactory:
    from dataclasses import replace

    from harness.types import StudyRecord

    records.replace(study.paths.record, replace(records.read(study.paths.record, StudyRecord), space=space))
    return study


def point(lr: float = 1e-5, kl: float = 1e-3, n: int = 8) -> dict[str, float | int]:
    return {LR: lr, KL: kl, N: n}


def test_a_study_without_a_complete_trial_says_so_and_recommends_nothing(tmp_path: Path) -> None:
    study = StudyFactory(tmp_path)
    study.ended(0, TrialState.FAIL, message="CUDA out of memory")
    report = made(study)
    assert report.answer is None
    assert {Matter.NO_ANSWER, Matter.FAILED, Matter.UNFINISHED} <= {doubt.matter for doubt in report.doubts}


def test_a_study_without_any_trial_has_a_report(tmp_path: Path) -> None:
    assert made(StudyFactory(tmp_path)).figures == ()


def test_ties_and_few_seeds_are_named_with_their_trials(tmp_path: Path) -> None:
    study = StudyFactory(tmp_path, n_trials=4)
    for number, (configuration, seed, value) in enumerate([("a", 0, 0.50), ("a", 1, 0.70), ("b", 0, 0.55), ("b", 1, 0.61)]):
        study.ended(
            number, configuration=configuration, seed=seed, values=(value,), params=point(lr=1e-5 if configuration == "a" else 2e-5)
        )
    (tie,), (few,) = found(study, Matter.TIE), found(study, Matter.SEEDS)
    assert (tie.trials, few.trials) == ((2,), (0, 1))


def test_the_best_at_the_edge_of_a_range_comes_with_the_next_range(tmp_path: Path) -> None:
    study = with_space(StudyFactory(tmp_path, n_trials=2))
    study.ended(0, values=(0.9,), params=point(lr=9.9e-5, n=16))
    study.ended(1, values=(0.1,), params=point(lr=1e-5))
    assert [doubt.cure for doubt in found(study, Matter.EDGE)] == [f"{LR}=tag(log,interval(9.9e-06,0.00099))", f"{N}=choice(8,16,32)"]


@pytest.mark.parametrize(
    ("knob", "domain", "expected"),
    [
        ("rollout_n", Choices(values=(2, 4, 8)), (2, math.inf)),
        ("actor_rollout_ref.rollout.n", Choices(values=(1, 2, 4)), (0, math.inf)),
        ("algorithm.lam", Choices(values=(0.9, 0.95, 1.0)), (0, 1)),
        ("kl_coef", Range(low=0.0, high=0.01, log=False, whole=False), (0, math.inf)),
        ("offset", Range(low=-1.0, high=1.0, log=False, whole=False), (-math.inf, math.inf)),
    ],
)
def test_nobody_is_sent_beyond_what_makes_sense(knob: str, domain: Domain, expected: tuple[float, float]) -> None:
    assert limits(knob, domain) == expected


def test_a_range_that_cannot_go_on_is_no_doubt_and_one_that_can_a_little_is_cut(tmp_path: Path) -> None:
    pairs = SPACE[N].replace("[4, 8, 16]", "[2, 4, 8]")
    study = with_space(StudyFactory(tmp_path, n_trials=2), {**SPACE, N: pairs})
    study.ended(0, values=(0.9,), params=point(n=2))
    assert found(study, Matter.EDGE) == []
    assert within(Range(low=-0.005, high=0.005, log=False, whole=False), 0, math.inf) == Range(low=0, high=0.005, log=False, whole=False)
    assert within(Choices(values=(1, 2, 4)), 2, math.inf) == Choices(values=(2, 4))


def test_an_objective_that_never_varied_and_a_guard_that_fired_are_told(tmp_path: Path) -> None:
    study = StudyFactory(tmp_path, n_trials=2)
    for number in range(2):
        attempt = study.ended(number, values=(0.0,))
    verdict = GuardVerdict(
        code="kl_blow_up",
        metric="actor/kl_loss",
        steps=(3,),
        values=(9.0,),
        threshold=2.0,
        message="kl_blow_up: ...",
        action=GuardAction.MARK,
    )
    records.write(attempt.guard, GuardRecord(verdicts=(verdict,)))
    (flat,), (guard,) = found(study, Matter.FLAT), found(study, Matter.GUARD)
    assert METRIC in flat.text
    assert ("kl_blow_up" in guard.text, guard.trials) == (True, (1,))


def test_a_knob_that_explains_nothing_is_told_from_one_that_explains_all(tmp_path: Path) -> None:
    study = with_space(StudyFactory(tmp_path, n_trials=24))
    for number in range(24):
        lr = 10 ** (-6 + 2 * ((number * 7) % 24) / 23)
        study.ended(
            number, values=(math.log10(lr),), params=point(lr=lr, kl=10 ** (-4 + 2 * ((number * 11) % 24) / 23), n=(4, 8, 16)[number % 3])
        )
    shares = {one.knob: one for one in importances(facts_of(study))}
    assert shares[LR].measurable
    assert not shares[KL].measurable
    assert shares[LR].share > 0.8 > shares[KL].share
    assert sum(one.share for one in shares.values()) == pytest.approx(1.0)
    assert all(one.low <= one.high for one in shares.values())
    (doubt,) = found(study, Matter.NO_EFFECT)
    assert "kl_loss_coef" in doubt.text
    assert "lr" not in doubt.text.split(":")[0].split(", ")


def test_few_configurations_have_no_importance(tmp_path: Path) -> None:
    study = StudyFactory(tmp_path)
    for number in range(7):
        study.ended(number)
    assert importances(facts_of(study)) == ()


def test_who_leads_at_equal_tokens_need_not_be_the_best(tmp_path: Path) -> None:
    """Trial 0 ends higher, with three times the tokens of trial 1 for each step."""
    study = StudyFactory(tmp_path, n_trials=2, total_steps=4)
    for number, (tokens, curve) in enumerate([(300, [0.1, 0.2, 0.5, 0.9]), (100, [0.2, 0.4, 0.6, 0.7])]):
        attempt = study.ended(number, values=(curve[-1],), steps=4)
        lines = [{"step": step, "data": {METRIC: value, "perf/total_num_tokens": tokens}} for step, value in enumerate(curve, 1)]
        attempt.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (lead,) = leads(facts_of(study))
    assert (lead.axis, lead.amount, lead.ahead.first, lead.value, lead.best_value) == (Axis.TOKENS, 400, 1, 0.7, 0.1)


def test_the_bill_adds_up_by_state_and_what_stopping_saved_is_at_the_trials_own_pace(tmp_path: Path) -> None:
    slot = Slot(index=0, gpus=("0", "1"))
    study = StudyFactory(tmp_path, slots=(slot,), total_steps=30)
    study.ended(0, values=(0.8,), seconds=460.0, gpu_seconds=920.0, slot=slot.name)
    study.ended(1, TrialState.PRUNED, steps=10, seconds=160.0, gpu_seconds=320.0, slot=slot.name)  # 60 s of it start-up: 10 s a step
    cost = bill(facts_of(study))
    assert (cost.unit, cost.hours) == ("GPU-hours", pytest.approx(1240 / 3600))
    assert [(one.state, one.trials) for one in cost.by_state] == [(TrialState.COMPLETE, 1), (TrialState.PRUNED, 1)]
    assert cost.startup_share == pytest.approx(240 / 1240)
    assert (cost.stopped, cost.saved_hours) == (1, pytest.approx(20 * 10 * 2 / 3600))


def test_a_stopped_trial_that_stood_where_winners_stood_is_a_risk_and_a_weak_one_is_none(tmp_path: Path) -> None:
    study = StudyFactory(tmp_path, n_trials=22, total_steps=10)
    for number in range(20):
        end = 0.2 + 0.03 * number
        study.ended(number, steps=10, values=(end,), params=point(lr=1e-5 + number * 1e-6))
        study.paths.trial(number).attempt(0).metrics.write_text(
            "".join(json.dumps({"step": step, "data": {METRIC: end * step / 10}}) + "\n" for step in range(1, 11))
        )
    for number, level in ((20, 0.77), (21, 0.2)):
        study.ended(number, TrialState.PRUNED, steps=5, params=point(lr=9e-5, n=number))
        study.paths.trial(number).attempt(0).metrics.write_text(
            "".join(json.dumps({"step": step, "data": {METRIC: level * step / 10}}) + "\n" for step in range(1, 6))
        )
    facts = facts_of(study)
    assert [one.standing for one in facts.configurations].count(Standing.STOPPED) == 2
    assert [risk.configuration.first for risk in bill(facts).risks] == [20]


def test_confirmation_tells_the_luck_that_was_in_the_choice(tmp_path: Path) -> None:
    study = StudyFactory(tmp_path, n_trials=6)
    for number, (configuration, seed, value, role) in enumerate(
        [("a", 1, 0.9, Role.TUNING), ("b", 1, 0.5, Role.TUNING), ("a", 7, 0.70, Role.CONFIRMATION), ("a", 8, 0.72, Role.CONFIRMATION)]
    ):
        study.ended(number, configuration=configuration, seed=seed, values=(value,), role=role)
    answer = made(study).answer
    assert answer is not None
    assert answer.values[0][0].startswith("0.710 ±")
    assert any("gave 0.9" in sentence for sentence in answer.sentences)


def test_a_study_that_minimizes_recommends_the_lowest(tmp_path: Path) -> None:
    from harness.types import Direction

    study = StudyFactory(tmp_path, n_trials=3, objectives=(Objective(metric=METRIC, direction=Direction.MINIMIZE),))
    for number, value in enumerate((0.5, 0.2, 0.9)):
        study.ended(number, values=(value,))
    report = made(study)
    assert report.answer is not None
    assert report.answer.trials == (1,)
    assert report.facts.configurations[0].first == 1


def test_a_running_study_has_every_part_and_says_that_it_may_change(tmp_path: Path) -> None:
    report = made(whole_study(tmp_path))
    assert report.doubts[0].matter is Matter.UNFINISHED
    assert {"curves", "parallel", "importance", "slices", "pairs", "progress", "timeline", "states"} <= {one.key for one in report.figures}


def test_steps_that_were_trained_again_count_once(tmp_path: Path) -> None:
    study = StudyFactory(tmp_path)
    study.running(0, steps=0)
    again = study.attempt(0, 1)
    first = study.paths.trial(0).attempt(0)

    def lines(steps: range, tokens: int) -> str:
        return "".join(
            json.dumps({"step": step, "data": {"perf/total_num_tokens": tokens, "actor/entropy": float(tokens)}}) + "\n" for step in steps
        )

    first.metrics.write_text(lines(range(1, 6), 10) + "torn {")
    again.metrics.write_text(lines(range(4, 7), 20))
    series = read_series(study.paths.trial(0))
    assert series.tokens == {1: 10, 2: 20, 3: 30, 4: 50, 5: 70, 6: 90}
    assert series.metrics["actor/entropy"] == ((1, 10), (2, 10), (3, 10), (4, 20), (5, 20), (6, 20))


def test_thinning_keeps_ends_and_spikes() -> None:
    points = [(float(step), 0.0) for step in range(1000)]
    points[500] = (500.0, 9.0)
    points[501] = (501.0, -9.0)
    kept = thinned(points, 50)
    assert len(kept) <= 50
    assert {points[0], points[500], points[501], points[-1]} <= set(kept)
    assert list(kept) == sorted(kept)

"""Our halving and Hyperband: Optuna's decisions where one trial runs at a time, the same from the journal alone, sound in parallel."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import optuna
import pytest
from curves import best_of, made_up, one_by_one, recorded, side_by_side
from optuna.pruners import BasePruner, HyperbandPruner, SuccessiveHalvingPruner
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from harness.expense import Resource
from sweeps import storage
from sweeps.pruners.asha import AshaPruner, Climber, Ladder, Smoothing, climb, decide
from sweeps.pruners.build import build_pruner
from sweeps.pruners.hyperband import AshaHyperbandPruner, bracket_of
from sweeps.pruners.spending import resource_of

NAME = "study"
SAMPLER = optuna.samplers.RandomSampler(seed=0)
MADE: dict[str, Callable[[], BasePruner]] = {
    "asha in tokens": lambda: AshaPruner(min_resource=300, reduction_factor=2, n_min_trials=2, window=3, resource="tokens"),
    "asha": lambda: AshaPruner(min_resource=2, reduction_factor=2, n_min_trials=2, window=3),
    "hyperband": lambda: AshaHyperbandPruner(min_resource=1, reduction_factor=2, brackets=3, n_min_trials=2, window=3),
}


def ladder(**changed: object) -> Ladder:
    return Ladder(**{"min_resource": 2, "reduction_factor": 2, "n_min_trials": 2, "window": 1, "smoothing": Smoothing.MEDIAN, **changed})  # type: ignore[arg-type]


def climber(number: int, *scores: float, stands: bool = True) -> Climber:
    return Climber(number, stands, scores)


def verdicts(shown: Mapping[int, tuple[bool, tuple[float, ...]]], rules: Ladder) -> set[int]:
    """Whom it would stop of those that run."""
    climbers = [Climber(number, stands, scores) for number, (stands, scores) in shown.items()]
    return {one.number for one in climbers if one.stands and decide(one, [other for other in climbers if other is not one], rules)}


# Optuna's decisions


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_in_a_sequential_study_asha_decides_as_optunas_successive_halving(seed: int, factor: int, direction: str) -> None:
    theirs = SuccessiveHalvingPruner(min_resource=1, reduction_factor=factor, min_early_stopping_rate=0)
    stops = one_by_one(theirs, made_up(seed), direction=direction)
    assert any(stops)
    assert one_by_one(AshaPruner(min_resource=1, reduction_factor=factor), made_up(seed), direction=direction) == stops


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize(("factor", "brackets"), [(2, 4), (3, 3)])
def test_in_a_sequential_study_hyperband_decides_as_optunas(factor: int, brackets: int, direction: str) -> None:
    theirs = HyperbandPruner(min_resource=1, max_resource=10, reduction_factor=factor)
    stops = one_by_one(theirs, made_up(7, trials=120), direction=direction)
    ours = AshaHyperbandPruner(min_resource=1, reduction_factor=factor, brackets=brackets)
    assert one_by_one(ours, made_up(7, trials=120), direction=direction) == stops


@pytest.mark.parametrize("seed", range(3))
def test_a_sparse_reporter_is_judged_at_its_first_report_at_or_after_a_rung_as_optuna_does(seed: int) -> None:
    sparse = [[value for value in curve for _ in range(3)] for curve in made_up(seed, steps=9)]
    theirs, ours = SuccessiveHalvingPruner(min_resource=2, reduction_factor=3), AshaPruner(min_resource=2, reduction_factor=3)
    stops = []
    for pruner in (theirs, ours):
        study = optuna.create_study(pruner=pruner, sampler=SAMPLER, direction="maximize")
        stops.append(side_by_side(study, sparse, slots=1, every=3))
    assert stops[0] == stops[1]
    assert set(stops[0].values()) <= {3, 6, 18}  # of rungs 2, 6, 18


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_so_it_is_on_recorded_curves() -> None:
    """Where a trial that led reported NaN, ours keeps whom Optuna stops: it was the last one standing."""
    tasks = recorded()
    if not tasks:
        pytest.skip("VERL_SWEEP_CURVES names no folder of recorded curves")
    for name, curves in tasks.items():
        whole = [curve for curve in curves if not any(map(math.isnan, curve))]
        for theirs, ours in (
            (SuccessiveHalvingPruner(min_resource=1, reduction_factor=3), AshaPruner(min_resource=1, reduction_factor=3)),
            (
                HyperbandPruner(min_resource=1, max_resource=10, reduction_factor=3),
                AshaHyperbandPruner(min_resource=1, reduction_factor=3, brackets=3),
            ),
        ):
            assert one_by_one(ours, whole) == one_by_one(theirs, whole), name


def test_the_number_of_a_trial_says_its_bracket_and_hasty_brackets_are_dealt_more() -> None:
    dealt = [bracket_of(NAME, number, brackets=3, reduction_factor=3) for number in range(1000)]
    assert [dealt.count(bracket) for bracket in range(3)] == sorted((dealt.count(bracket) for bracket in range(3)), reverse=True)
    assert set(dealt) == {0, 1, 2}


# from the storage alone


def tokens(number: int, step: int) -> float:
    """Answers of different lengths, which grow; a third trial's are ten times as long."""
    return (100 + number % 7) * step * (1 + step / 10) * (10 if number % 3 == 0 else 1)


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("every", [1, 3])
def test_every_decision_can_be_replayed_from_the_journal(name: str, every: int, tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    study = optuna.create_study(storage=storage.journal(path), study_name=NAME, direction="maximize", pruner=MADE[name](), sampler=SAMPLER)
    spent = tokens if "tokens" in name else None
    stops = side_by_side(study, made_up(3, trials=40), slots=8, every=every, spent=spent)
    assert len(stops) > 10
    assert {trial.number: trial.last_step for trial in study.trials if trial.state is TrialState.PRUNED} == stops
    noted = [set(trial.user_attrs) | set(trial.system_attrs) for trial in study.trials]
    assert noted == [{f"spent:{step}" for step in trial.intermediate_values} if spent else set() for trial in study.trials]
    assert replayed(path, MADE[name], tmp_path / "replayed.log") == stops


def replayed(path: Path, make: Callable[[], BasePruner], copy: Path) -> dict[int, int]:
    """The journal line by line into another one; at each report a pruner that was made just now is asked."""
    copy.touch()
    stops: dict[int, int] = {}
    for line in path.read_text().splitlines(keepends=True):
        with copy.open("a") as file:
            file.write(line)
        told = json.loads(line)
        if "intermediate_value" not in told:
            continue
        study = optuna.load_study(study_name=NAME, storage=JournalStorage(JournalFileBackend(str(copy))), pruner=make(), sampler=SAMPLER)
        trial = study.trials[told["trial_id"]]
        if study.pruner.prune(study, trial):
            stops[trial.number] = told["step"]
    return stops


# in parallel


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("seed", range(5))
def test_the_first_wave_is_pruned_already_and_one_of_it_goes_on(name: str, seed: int) -> None:
    curves = made_up(seed, trials=16)
    study = optuna.create_study(pruner=MADE[name](), sampler=SAMPLER, direction="maximize", study_name=NAME)
    stops = side_by_side(study, curves, slots=16, spent=tokens if "tokens" in name else None)
    assert 4 <= len(stops) < 16


def test_who_came_first_and_alone_is_held_to_those_that_came_after() -> None:
    rules = ladder()
    assert verdicts({0: (True, (0.1,))}, rules) == set()
    assert verdicts({0: (True, (0.1,)), 1: (True, (0.5,))}, rules) == {0}


def test_who_has_climbed_on_is_not_held_to_how_it_began() -> None:
    assert verdicts({0: (True, (0.1, 0.9)), 1: (True, (0.5,)), 2: (True, (0.6,)), 3: (True, (0.7,))}, ladder()) == {1}


def test_pruned_trials_count_in_the_rungs_that_they_reached() -> None:
    shown = {0: (True, (0.8, 0.8)), 1: (True, (0.5,)), 2: (False, (0.2,)), 3: (False, (0.1,))}
    assert verdicts(shown, ladder()) == set()  # the second of four
    assert verdicts({number: shown[number] for number in (0, 1)}, ladder()) == {1}


def test_the_last_one_standing_goes_on_though_those_that_ended_were_better() -> None:
    assert verdicts({0: (False, (0.9, 0.9)), 1: (False, (0.8,)), 2: (True, (0.1,))}, ladder()) == set()
    assert verdicts({0: (False, (0.9, 0.9)), 1: (True, (0.2,)), 2: (True, (0.1,))}, ladder()) == {2}


@pytest.mark.parametrize("smoothing", Smoothing)
def test_a_noisy_step_neither_dooms_nor_saves(smoothing: Smoothing) -> None:
    rules = ladder(min_resource=5, window=5, smoothing=smoothing)
    strong = {1: 0.5, 2: 0.5, 3: 0.5, 4: 0.5, 5: 0.0}
    weak = {1: 0.1, 2: 0.1, 3: 0.1, 4: 0.1, 5: 0.6}
    scores = [climb(reports, rules, maximize=True)[0] for reports in (strong, weak)]
    assert scores[0] > scores[1]


def test_a_trial_is_seen_at_a_rung_by_its_last_reports_up_to_the_first_one_after_it() -> None:
    rules = ladder(window=2, smoothing=Smoothing.MEAN)
    assert climb({0: 9.0, 5: 1.0, 10: 3.0, 15: 5.0}, rules, maximize=True) == (1.0, 1.0, 2.0)  # rungs 2, 4 at step 5; rung 8 at step 10
    assert climb({10: 3.0, 5: 1.0}, rules, maximize=False) == (-1.0, -1.0, -2.0)
    assert climb({0: 9.0, 1: 1.0}, rules, maximize=True) == ()


def test_in_tokens_a_trial_is_seen_at_a_rung_when_it_has_used_so_many() -> None:
    rules, reports = ladder(min_resource=1000, resource=Resource.TOKENS), {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0}
    long, short = ({step: step * each for step in reports} for each in (1000.0, 400.0))
    assert climb(reports, rules, maximize=True, spent=long) == (1.0, 2.0, 4.0)
    assert climb(reports, rules, maximize=True, spent=short) == (3.0,)
    assert climb(reports, rules, maximize=True, spent={1: 1000.0}) == (1.0,), "of a report whose expense is unknown nothing is known"
    assert climb(reports, rules, maximize=True, spent={}) == ()


def test_an_expense_is_found_in_a_wrapped_pruner_too() -> None:
    asha = {"_target_": "sweeps.pruners.asha.AshaPruner", "min_resource": 2, "reduction_factor": 2, "resource": "gpu_seconds"}
    assert resource_of({"_target_": "optuna.pruners.PatientPruner", "patience": 3, "wrapped_pruner": asha}) is Resource.GPU_SECONDS
    assert resource_of({"_target_": "optuna.pruners.MedianPruner"}) is resource_of(None) is Resource.STEPS
    assert resource_of({"_target_": "somebody.Else", "resource": "memory"}) is Resource.STEPS


def test_before_the_first_rung_and_until_enough_trials_reached_it_none_is_stopped() -> None:
    assert not decide(climber(0), [climber(1, 0.9)], ladder())
    assert not decide(climber(0, 0.1), [climber(1, 0.9)], ladder(n_min_trials=3))


def test_nan_alone_stops_and_nan_among_numbers_does_not() -> None:
    rules = ladder(window=3)
    assert climb({1: 0.5, 2: math.nan}, rules, maximize=True) == (0.5,)
    (score,) = climb({1: math.nan, 2: math.nan}, rules, maximize=True)
    assert decide(climber(0, score), [], rules)
    assert not decide(climber(0, 0.1), [climber(1, math.nan)], ladder())  # which takes no place


def test_minimizing_is_maximizing_of_the_opposite() -> None:
    curves = made_up(1)
    opposite = [[-value for value in curve] for curve in curves]
    studies = [optuna.create_study(pruner=MADE["asha"](), sampler=SAMPLER, direction=way) for way in ("maximize", "minimize")]
    assert side_by_side(studies[0], curves, slots=4) == side_by_side(studies[1], opposite, slots=4)


def test_one_pruner_serves_several_studies() -> None:
    pruner = MADE["asha"]()
    for seed in (1, 2):
        stops = [
            side_by_side(optuna.create_study(pruner=one, sampler=SAMPLER, direction="maximize"), made_up(seed), slots=4)
            for one in (pruner, MADE["asha"]())
        ]
        assert stops[0] == stops[1]


def test_what_is_kept_is_good() -> None:
    """Made-up curves of which a quarter falls at the half: the best of those that were not stopped is among the best of all."""
    for seed in range(5):
        curves = made_up(seed)
        stops = side_by_side(optuna.create_study(pruner=MADE["asha"](), sampler=SAMPLER, direction="maximize"), curves, slots=4)
        kept = [number for number in range(len(curves)) if number not in stops]
        assert sorted(curves, key=lambda curve: -curve[-1]).index(curves[best_of(curves, kept)]) < 6


def test_patience_is_optunas_own_around_it() -> None:
    asha = {"_target_": "sweeps.pruners.asha.AshaPruner", "min_resource": 2, "reduction_factor": 2}
    patient = build_pruner({"_target_": "optuna.pruners.PatientPruner", "patience": 3, "wrapped_pruner": asha})
    stopped = [sum(stop is not None for stop in one_by_one(pruner, made_up(1))) for pruner in (patient, build_pruner(asha))]
    assert 0 < stopped[0] < stopped[1]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"min_resource": 0}, "min_resource: expected a whole number of at least 1, got 0"),
        ({"reduction_factor": 1}, "reduction_factor: expected a whole number of at least 2, got 1"),
        ({"window": 1.5}, "window: expected a whole number of at least 1, got 1.5"),
        ({"resource": "epochs"}, "'epochs' is not a valid Resource"),
        ({"smoothing": "mode"}, "'mode' is not a valid Smoothing"),
    ],
)
def test_numbers_that_make_no_ladder_are_refused(changed: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        AshaPruner(**{"min_resource": 1, "reduction_factor": 2, **changed})  # type: ignore[arg-type]

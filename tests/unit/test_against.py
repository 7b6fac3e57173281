"""What is said of the best configuration against the point that the knobs replace."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from factory import METRIC, StudyFactory
from rich.console import Console
from test_study_cli import study_cli

from analysis.report.markdown import markdown
from harness import records
from harness.against import against_default, default_trials, sentence
from harness.screen import closing
from harness.status import StudyStatus, load_study
from harness.types import Direction, Objective, Role, StudyRecord, TrialState

OWN = {"lr": 1e-6, "n": 8}


def study(
    outputs: Path, *, defaults: dict[str, Any] = OWN, knobs: tuple[str, ...] = ("lr", "n"), objective: Objective | None = None
) -> StudyFactory:
    made = StudyFactory(outputs, knobs=knobs, objectives=(objective or Objective(metric=METRIC),))
    records.replace(made.paths.record, replace(records.read(made.paths.record, StudyRecord), defaults=defaults))
    return made


def ran(made: StudyFactory, *values: float, configuration: str, params: dict[str, Any], role: Role = Role.TUNING, first: int = 1) -> None:
    number = len(made.paths.trials())
    for place, value in enumerate(values):
        made.ended(number + place, values=(value,), configuration=configuration, params=params, seed=first + place, role=role)


def said(made: StudyFactory) -> str:
    status = load_study(made.paths)
    return sentence(status, status.result())


def both(outputs: Path, own: list[float], best: list[float], *, direction: Direction = Direction.MAXIMIZE) -> StudyFactory:
    made = study(outputs, objective=Objective(metric=METRIC, direction=direction))
    ran(made, *own, configuration="own", params=OWN)
    ran(made, *best, configuration="best", params={"lr": 3e-6, "n": 16})
    return made


def test_the_difference_comes_with_its_interval_its_seeds_and_what_the_default_is(tmp_path: Path) -> None:
    made = both(tmp_path, [0.50, 0.61, 0.55, 0.52], [0.70, 0.82, 0.74, 0.73])
    words = "Better than the default (trials 0, 1, 2, 3: lr=1e-06 n=8) by 0.202 ± 0.011, by the same 4 seeds (90 % interval, for all "
    assert said(made) == f"{words}contenders at once)."
    status = load_study(made.paths)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(closing(status))
    for shown in (console.export_text(), markdown(status)):
        assert words in shown
    fields = json.loads(study_cli(tmp_path, "show", made.name, "--json").stdout)
    assert fields["defaults"] == OWN
    assert fields["against_default"]["default"]["trials"] == [0, 1, 2, 3]
    assert fields["against_default"]["mean"] == pytest.approx(0.2025)
    assert fields["against_default"]["paired"] is True


def test_less_is_better_where_it_is_minimized(tmp_path: Path) -> None:
    assert "Better than the default" in said(both(tmp_path, [0.9, 0.8], [0.1, 0.2], direction=Direction.MINIMIZE))


def test_a_difference_that_may_be_luck_says_so(tmp_path: Path) -> None:
    assert said(both(tmp_path, [0.5, 0.7], [0.5, 0.75])).endswith(", so that it may be luck.")


def test_with_one_seed_each_nothing_tells_whether_it_is_luck(tmp_path: Path) -> None:
    assert "by 0.2; with one seed each nothing tells whether that is luck." in said(both(tmp_path, [0.5], [0.7]))


def test_a_default_without_the_seeds_of_a_confirmation_is_compared_by_the_one_that_it_has(tmp_path: Path) -> None:
    made = both(tmp_path, [0.5], [0.7])
    ran(made, 0.6, 0.65, configuration="best", params={"lr": 3e-6, "n": 16}, role=Role.CONFIRMATION, first=1001)
    assert "by 2 seeds against 1 (90 %" in said(made)


def test_the_default_may_be_the_best(tmp_path: Path) -> None:
    made = both(tmp_path, [0.8, 0.9], [0.7, 0.6])
    assert said(made) == "The best is the default itself (trials 0, 1: lr=1e-06 n=8): nothing else that was tried is known to be better."
    status = load_study(made.paths)
    assert against_default(status, status.result()) is None


def test_a_default_that_was_not_run_comes_with_the_key_that_runs_it(tmp_path: Path) -> None:
    made = study(tmp_path)
    ran(made, 0.7, configuration="best", params={"lr": 3e-6, "n": 8})
    assert said(made) == "The default (lr=1e-06 n=8) was not run: study.default_trial=true makes it a trial."


def test_a_default_outside_of_its_range_comes_with_what_a_trial_of_it_needs(tmp_path: Path) -> None:
    made = study(tmp_path)
    ran(made, 0.7, configuration="best", params={"lr": 3e-6, "n": 8})
    space = {
        "lr": '{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.01, "log": true}}',
        "n": '{"name": "CategoricalDistribution", "attributes": {"choices": [4, 8]}}',
    }
    records.replace(made.paths.record, replace(records.read(made.paths.record, StudyRecord), space=space))
    asked = "The default (lr=1e-06 n=8) was not run: a trial of it needs a wider range of lr, and study.default_trial=true."
    assert said(made) == asked


def test_a_default_without_a_value_says_how_it_ended(tmp_path: Path) -> None:
    made = study(tmp_path)
    made.ended(0, TrialState.FAIL, params=OWN, configuration="own")
    ran(made, 0.7, configuration="best", params={"lr": 3e-6, "n": 8})
    assert said(made) == "The default (trial 0: lr=1e-06 n=8) has no value to compare with: it is FAIL crashed."


def test_a_swept_seed_makes_no_other_configuration(tmp_path: Path) -> None:
    made = study(tmp_path, knobs=("lr", "seed"), defaults={"lr": 1e-6, "seed": 1})
    for seed in (1, 2):
        ran(made, 0.5 + seed / 10, configuration="own", params={"lr": 1e-6, "seed": seed}, first=seed)
    assert [trial.number for trial in default_trials(load_study(made.paths))] == [0, 1]


@pytest.mark.parametrize("defaults", [{}, {"lr": 1e-6}])
def test_where_a_knob_replaces_nothing_there_is_no_such_question(tmp_path: Path, defaults: dict[str, Any]) -> None:
    made = study(tmp_path, defaults=defaults)
    ran(made, 0.7, configuration="best", params={"lr": 3e-6, "n": 8})
    assert said(made) == ""
    status: StudyStatus = load_study(made.paths)
    assert default_trials(status) == ()

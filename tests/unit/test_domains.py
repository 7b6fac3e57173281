"""Claims about where a value lies in what was asked for, and which range comes next."""

from __future__ import annotations

import json

import pytest

from analysis.report.unresolved import _end
from harness.domains import Choices, Domain, Range, domains

LR = '{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.001, "log": true}}'
N = '{"name": "CategoricalDistribution", "attributes": {"choices": [8, 4, 16]}}'
STEPS = '{"name": "IntDistribution", "attributes": {"step": 1, "low": 2, "high": 10, "log": false}}'


def test_optunas_records_become_ranges_and_choices() -> None:
    found = domains({"lr": LR, "n": N, "steps": STEPS}, ["lr", "n", "steps"], [])
    assert found == {
        "lr": Range(low=1e-6, high=1e-3, log=True, whole=False),
        "n": Choices(values=(4, 8, 16)),
        "steps": Range(low=2, high=10, log=False, whole=True),
    }


def test_distributions_are_read_as_optuna_writes_them() -> None:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution, distribution_to_json

    asked = [FloatDistribution(1e-6, 1e-3, log=True), CategoricalDistribution([True, "a", None]), IntDistribution(2, 64, log=True)]
    found = domains({str(place): distribution_to_json(one) for place, one in enumerate(asked)}, ["0", "1", "2"], [])
    assert [one.asked() for one in found.values()] == [
        "tag(log,interval(1e-06,0.001))",
        "choice(true,a,null)",
        "tag(int,log,interval(2,64))",
    ]


def test_a_space_that_cannot_be_read_is_what_its_points_span() -> None:
    points = [{"lr": 1e-6, "name": "a"}, {"lr": 1e-3, "name": "b"}, {"lr": 1e-4}]
    found = domains({"lr": "{", "name": json.dumps({"name": "?"})}, ["lr", "name", "absent"], points)
    assert found == {"lr": Range(low=1e-6, high=1e-3, log=True, whole=False), "name": Choices(values=("a", "b"))}


@pytest.mark.parametrize(
    ("domain", "value", "end"),
    [
        (Range(low=1e-6, high=1e-3, log=True, whole=False), 9e-4, "upper end"),
        (Range(low=1e-6, high=1e-3, log=True, whole=False), 1.1e-6, "lower end"),
        (Range(low=1e-6, high=1e-3, log=True, whole=False), 5e-4, None),
        (Choices(values=(4, 8, 16)), 16, "upper end"),
        (Choices(values=(4, 8, 16)), 8, None),
        (Choices(values=("a", "b")), "b", None),
        (Choices(values=(True, False)), False, None),
        (Range(low=1e-6, high=1e-3, log=True, whole=False), "null", None),
    ],
)
def test_the_end_of_a_range_is_a_twentieth_of_it_and_of_choices_the_last_number(
    domain: Range | Choices, value: object, end: str | None
) -> None:
    assert _end(domain, value) == end


def test_the_next_range_is_as_wide_with_the_best_in_its_middle() -> None:
    assert Range(low=1e-6, high=1e-4, log=True, whole=False).around(1e-4).asked() == "tag(log,interval(1e-05,0.001))"
    assert Range(low=0.0, high=1.0, log=False, whole=False).around(1.0).asked() == "interval(0.5,1.5)"


def test_the_next_choices_go_on_as_the_list_did() -> None:
    assert Choices(values=(4, 8, 16)).beyond(16).asked() == "choice(8,16,32)"
    assert Choices(values=(2, 4, 8)).beyond(2).asked() == "choice(1,2,4)"


@pytest.mark.parametrize(
    ("domain", "within", "beyond"),
    [
        (Range(low=1e-6, high=1e-4, log=True, whole=False), [1e-6, 1e-5, 1e-4], [9e-7, 1.1e-4, 0, -1.0, "1e-5", None, True]),
        (Range(low=2, high=2, log=False, whole=True), [2], [1, 3]),
        (Choices(values=(1, "a", None)), [1, "a", None], [True, 2, "b", 1.0]),
    ],
)
def test_what_lies_within_is_of_its_kind_and_between_its_ends(domain: Domain, within: list[object], beyond: list[object]) -> None:
    assert [value for value in within if not domain.holds(value)] == []
    assert [value for value in beyond if domain.holds(value)] == []

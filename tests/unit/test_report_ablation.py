"""The path from the default to the best: on functions whose gains are known, and where there is none."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factory import METRIC, StudyFactory

from analysis.report.ablation import LEAST, Ablation, ablation, between
from analysis.report.content import content
from analysis.report.facts import read_facts
from analysis.report.page import page
from analysis.report.surrogate import Surface
from harness import records
from harness.status import load_study
from harness.types import Direction, Objective, StudyRecord
from harness.wording import gain

SPACE: dict[str, Any] = {
    "lr": {"name": "FloatDistribution", "attributes": {"step": None, "low": 1e-6, "high": 1e-4, "log": True}},
    "kl": {"name": "FloatDistribution", "attributes": {"step": None, "low": 0.0, "high": 1.0, "log": False}},
    "n": {"name": "CategoricalDistribution", "attributes": {"choices": [4, 8, 16]}},
    "kind": {"name": "CategoricalDistribution", "attributes": {"choices": ["grpo", "gspo", "rloo"]}},
    "idle": {"name": "FloatDistribution", "attributes": {"step": None, "low": 0.0, "high": 1.0, "log": False}},
}
CHOICES_WITHOUT_4 = {"name": "CategoricalDistribution", "attributes": {"choices": [8, 16]}}
OWN: dict[str, Any] = {"lr": 1e-6, "kl": 0.9, "n": 4, "kind": "grpo", "idle": 0.1}


def worth(point: dict[str, Any]) -> float:
    """Additive; `idle` does nothing."""
    lr = (math.log10(point["lr"]) + 6) / 2
    return 0.4 * lr - 0.2 * point["kl"] + 0.02 * math.log2(point["n"]) + {"grpo": 0.0, "gspo": 0.1, "rloo": -0.1}[point["kind"]]


def study(outputs: Path, *, count: int = 40, sign: int = 1, own_seeds: int = 1, defaults: dict[str, Any] = OWN) -> StudyFactory:
    direction = Direction.MAXIMIZE if sign > 0 else Direction.MINIMIZE
    made = StudyFactory(outputs, knobs=tuple(SPACE), objectives=(Objective(metric=METRIC, direction=direction),), total_steps=2)
    record = records.read(made.paths.record, StudyRecord)
    space = {knob: json.dumps(one) for knob, one in SPACE.items()}
    records.replace(made.paths.record, replace(record, space=space, defaults=defaults))
    random = np.random.default_rng(1)
    for number in range(count):
        lr, kl, idle = random.random(3).tolist()
        point = {
            "lr": 10 ** (-6 + 2 * lr),
            "kl": kl,
            "n": (4, 8, 16)[number % 3],
            "kind": ("grpo", "gspo", "rloo")[number // 3 % 3],
            "idle": idle,
        }
        made.ended(number, params=point, values=(sign * (worth(point) + float(0.01 * random.standard_normal())),))
    for seed in range(own_seeds):
        value = sign * (worth(OWN) + float(0.01 * random.standard_normal()))
        made.ended(count + seed, params=OWN, configuration="own", seed=seed + 1, values=(value,))
    return made


def path_of(made: StudyFactory) -> Ablation:
    found = ablation(read_facts(load_study(made.paths)))
    assert found is not None
    return found


@pytest.mark.parametrize("sign", [1, -1])
def test_of_an_additive_function_the_path_has_its_order_and_its_gains_and_an_idle_knob_gains_nothing(tmp_path: Path, sign: int) -> None:
    found = path_of(study(tmp_path, sign=sign))
    gains = {}
    point = dict(OWN)
    for step in found.steps:
        after = {**point, step.knob: step.after}
        gains[step.knob] = worth(after) - worth(point)
        assert (step.before, abs(step.gain - gains[step.knob]) <= step.half_width) == (OWN[step.knob], True), step
        point = after
    assert [step.knob for step in found.steps][:3] == sorted(gains, key=lambda knob: -gains[knob])[:3]
    (idle,) = [step for step in found.steps if step.knob == "idle"]
    assert abs(idle.gain) <= idle.half_width < 0.05
    assert found.gain == pytest.approx(sum(step.gain for step in found.steps))
    assert found.gain == pytest.approx(sum(gains.values()), abs=found.half_width)
    assert found.steps[-1].level == pytest.approx(found.start + sign * found.gain)
    assert (found.configurations, found.why_not) == (41, "")
    assert set(found.alike) == SPACE.keys() - gains.keys()
    assert found.measured is not None
    assert found.measured.gain.mean == pytest.approx(found.gain, abs=found.half_width)


def test_the_page_says_that_it_is_a_models_word_and_shows_what_was_measured(tmp_path: Path) -> None:
    facts = read_facts(load_study(study(tmp_path).paths))
    made = content(facts)
    assert made.ablation is not None
    shown = page(made)
    assert "This is the word of a model (a Gaussian process of 41 configurations) and no measurement." in shown
    first = made.ablation.steps[0]
    assert f"<td>{gain(first.gain, first.half_width)}</td>" in shown
    assert f"Measured at both ends: {gain(made.ablation.measured.gain.mean, None)}." in shown  # type: ignore[union-attr]


def test_where_a_model_knows_nothing_there_is_no_path_and_the_reason(tmp_path: Path) -> None:
    few = path_of(study(tmp_path / "few", count=LEAST - 2))
    assert (few.steps, few.why_not) == ((), "9 configurations with a value or a forecast of it are too few for a model: 10 at least.")
    unknown = path_of(study(tmp_path / "unknown", own_seeds=0))
    assert unknown.why_not == "The default has no value, and a model should not guess it: study.default_trial=true makes it a trial."
    assert path_of(study(tmp_path / "own", count=0)).why_not == "The best is the default itself."
    outside = study(tmp_path / "outside")
    record = records.read(outside.paths.record, StudyRecord)
    records.replace(outside.paths.record, replace(record, space={**record.space, "n": json.dumps(CHOICES_WITHOUT_4)}))
    assert "lies outside the ranges" in path_of(outside).why_not


@pytest.mark.parametrize("defaults", [{}, {"lr": 1e-6}])
def test_where_knobs_replace_nothing_there_is_no_such_question(tmp_path: Path, defaults: dict[str, Any]) -> None:
    assert ablation(read_facts(load_study(study(tmp_path, count=3, defaults=defaults).paths))) is None


def bent(points_nd: Any) -> Any:
    return 0.3 * points_nd[:, 0] - 0.6 * (points_nd[:, 1] - 0.7) ** 2 + 0.1 * points_nd[:, 2]


def crossed(points_nd: Any) -> Any:
    return 0.3 * points_nd[:, 0] * points_nd[:, 1] + 0.1 * np.sin(4 * points_nd[:, 2])


def shares(function: Callable[[Any], Any], points: int, noise: float, *, default_was_run: bool, studies: int) -> tuple[float, float]:
    """Of 90 % intervals those that hold the true gain: of single knobs, and of all together; from a corner, where defaults often lie."""
    held: list[bool] = []
    together: list[bool] = []
    for seed in range(studies):
        random = np.random.default_rng(seed)
        ends = np.array([np.zeros(4), random.random(4)])
        seen = np.array([*ends[: int(default_was_run)], *random.random((points - 1, 4))])
        values = function(seen) + noise * random.standard_normal(len(seen))
        surface = Surface(seen, values, knob_d=range(4), seeds_n=[1] * len(seen))
        path = np.array([np.where(np.arange(4) < knob, ends[1], ends[0]) for knob in range(5)])
        joint, true = surface.joint(path), function(path)
        for first, last in (*pairwise(range(5)), (0, 4)):
            more, half_width = between(joint, first, last)
            (together if last - first > 1 else held).append(abs(more - (true[last] - true[first])) <= half_width)
    return sum(held) / len(held), sum(together) / len(together)


@pytest.mark.parametrize(("points", "noise"), [(LEAST, 0.02), (30, 0.1)])
@pytest.mark.parametrize("function", [bent, crossed])
def test_intervals_of_gains_hold_the_true_ones_as_often_as_they_say(function: Callable[[Any], Any], points: int, noise: float) -> None:
    """80 gains and 20 sums of them, which stray by 0.034 and 0.067."""
    single, together = shares(function, points, noise, default_was_run=True, studies=20)
    assert single >= 0.85
    assert together >= 0.8


def test_a_default_that_was_not_run_would_be_guessed_too_near_the_others() -> None:
    assert shares(bent, 2 * LEAST, 0.02, default_was_run=False, studies=20)[1] < 0.75


def test_a_mean_over_more_seeds_counts_more() -> None:
    points = np.array([[0.2], [0.2], [0.8]] * 4)
    values = np.array([0.0, 1.0, 0.5] * 4)
    near_first, near_second = (
        Surface(points, values, knob_d=[0], seeds_n=seeds * 4).means(np.array([[0.2]]))[0] for seeds in ([9, 1, 1], [1, 9, 1])
    )
    assert near_first < 0.4 < 0.6 < near_second

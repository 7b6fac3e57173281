"""Claims about two studies side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import scipy.stats
from factory import METRIC, StudyFactory
from test_study_cli import study_cli

from analysis.compare import compare, lines
from harness.status import load_study
from harness.types import Direction, Objective


def study(
    outputs: Path, name: str, values: list[float], *, objective: Objective | None = None, lr: float = 1e-5, first_seed: int = 0
) -> StudyFactory:
    made = StudyFactory(outputs, name, objectives=(objective or Objective(metric=METRIC),), knobs=("lr",))
    for place, value in enumerate(values):
        made.ended(place, configuration="a", seed=first_seed + place, values=(value,), params={"lr": lr})
    return made


def compared(first: StudyFactory, second: StudyFactory):
    return compare(load_study(first.paths), load_study(second.paths))


def test_of_studies_with_one_configuration_each_the_interval_is_welchs(tmp_path: Path) -> None:
    one, other = [0.5, 0.52, 0.55, 0.49, 0.51], [0.6, 0.66, 0.58, 0.71, 0.62]
    found = compared(study(tmp_path, "one", one), study(tmp_path, "other", other, first_seed=3))
    gain = found.gain
    assert gain is not None
    assert gain.shared_seeds == 0, "two that both have are too few"
    assert f"± {gain.half_width:.2g} (90 % interval, unpaired: Welch's)." in "\n".join(lines(found))
    welch = scipy.stats.ttest_ind(other, one, equal_var=False).confidence_interval(0.9)
    assert gain.mean == pytest.approx(0.12)
    assert gain.half_width == pytest.approx((welch.high - welch.low) / 2, rel=0.06)  # whole degrees of freedom


def test_where_the_best_ones_share_seeds_the_interval_is_students_over_pairs(tmp_path: Path) -> None:
    one, other = [0.50, 0.70, 0.61, 0.40, 0.9], [0.75, 0.70, 0.48, 0.99]
    found = compared(study(tmp_path, "one", one), study(tmp_path, "other", other, first_seed=1))
    paired = scipy.stats.ttest_rel(other, one[1:]).confidence_interval(0.9)
    gain = found.gain
    assert gain is not None
    assert gain.shared_seeds == 4
    assert gain.mean == pytest.approx((paired.low + paired.high) / 2)
    assert gain.half_width == pytest.approx((paired.high - paired.low) / 2, rel=2e-3)
    assert f"by 0.0775 ± {gain.half_width:.2g} (90 % interval, paired by the 4 seeds that both have)." in "\n".join(lines(found))


def test_a_gain_is_positive_where_the_second_is_better_whatever_the_direction(tmp_path: Path) -> None:
    less = Objective(metric=METRIC, direction=Direction.MINIMIZE)
    found = compared(study(tmp_path, "one", [0.9, 0.8], objective=less), study(tmp_path, "other", [0.4, 0.5], objective=less))
    assert found.gain is not None
    assert found.gain.mean == pytest.approx(0.4)


def test_one_seed_each_is_said_to_tell_nothing(tmp_path: Path) -> None:
    text = "\n".join(lines(compared(study(tmp_path, "one", [0.5]), study(tmp_path, "other", [0.6]))))
    assert "The best of other is better by 0.1; where a study has one seed of each, nothing tells whether that is luck." in text


def test_studies_of_different_objectives_are_not_compared(tmp_path: Path) -> None:
    found = compared(study(tmp_path, "one", [0.5]), study(tmp_path, "other", [9.0], objective=Objective(metric="response_length/mean")))
    assert found.gain is None
    assert "Not comparable" in "\n".join(lines(found))


def test_points_that_both_tried_stand_side_by_side_and_ranges_that_differ_are_told(tmp_path: Path) -> None:
    found = compared(study(tmp_path, "one", [0.5, 0.7]), study(tmp_path, "other", [0.8]))
    assert [(one.params, one.first, one.second) for one in found.shared] == [({"lr": 1e-5}, (0.6, 2), (0.8, 1))]
    assert [change.what for change in compared(study(tmp_path, "low", [0.5]), study(tmp_path, "high", [0.8], lr=1e-3)).spaces] == ["lr"]


def test_a_study_without_a_result_can_be_looked_at(tmp_path: Path) -> None:
    study(tmp_path, "one", [0.5])
    StudyFactory(tmp_path, "none")
    done = study_cli(tmp_path, "compare", "one", "none")
    assert (done.returncode, done.stderr) == (0, "")
    assert "no best configuration" in done.stdout
    assert json.loads(study_cli(tmp_path, "compare", "one", "none", "--json").stdout)["gain"] is None

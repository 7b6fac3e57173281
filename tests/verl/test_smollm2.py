"""SmolLM2-135M-Instruct's real weights learn sums on the CPU, launched as the README says. A quarter of an hour."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import results, run

from harness.metrics import MetricReader
from harness.paths import StudyPaths
from harness.types import TrialState

pytestmark = [pytest.mark.verl, pytest.mark.slow, pytest.mark.timeout(3600)]


def test_smollm2_answers_more_sums_after_a_few_steps_than_before(tmp_path: Path) -> None:
    done = run("verl-sweep", "experiment=smollm2_arithmetic", "study.name=smollm2", cwd=tmp_path, timeout_s=3500)
    assert done.returncode == 0, done.stdout + done.stderr
    study = StudyPaths(tmp_path / "outputs" / "smollm2")
    assert results(study)[0].state is TrialState.COMPLETE
    points = list(MetricReader(study.trial(0).attempt(0).metrics).new_points())
    accuracy = [value for point in points for name, value in point.values.items() if name.startswith("val-core/") and "/acc/" in name]
    reward = [point.values["critic/score/mean"] for point in points if "critic/score/mean" in point.values]
    correlation = [value for point in points for name, value in point.values.items() if name.endswith("rollout_actor_probs_pearson_corr")]
    half = len(reward) // 2
    assert accuracy[-1] > accuracy[0]
    assert sum(reward[half:]) / len(reward[half:]) > sum(reward[:half]) / half
    assert min(correlation) > 0.99

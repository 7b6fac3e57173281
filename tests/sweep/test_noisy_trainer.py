"""A training that writes all kinds of things among its metrics costs nobody the study."""

from __future__ import annotations

from pathlib import Path

from commands import drill, left_alive, results

from harness.metrics import MetricReader
from harness.paths import StudyPaths


def test_junk_among_the_metrics_is_left_out_and_said_once(tmp_path: Path) -> None:
    ran = drill(tmp_path, "drill.mode=noisy", "drill.at=0.5", "steps=6", "hydra.sweeper.n_trials=2", "study.name=noisy")
    assert (ran.returncode, ran.stderr) == (0, "")
    study = StudyPaths(tmp_path / "outputs" / "noisy")
    assert [(result.state.value, result.steps) for result in results(study).values()] == [("COMPLETE", 6)] * 2
    for number in (0, 1):
        said = f"trial {number}: trial-{number:04}/attempt-0/metrics.jsonl holds lines that are no metrics; they are left out"
        assert ran.stdout.count(said) == study.log.read_text().count(said) == 1
        reader = MetricReader(study.trial(number).attempt(0).metrics)
        assert [point.step for point in reader.new_points()] == [1, 2, 3, 4, 5, 6]
        assert reader.left_out == 6 * 4
    assert left_alive(study) == []

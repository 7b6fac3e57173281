"""A study ends with its report: a real process over the stand-in trainer."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import drill, run

from harness.paths import StudyPaths


def test_a_study_leaves_its_page_and_names_it_last(tmp_path: Path) -> None:
    done = drill(tmp_path, "study.name=one", "study.report=true", "hydra.sweeper.n_trials=2")
    study = StudyPaths(tmp_path / "outputs" / "one")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"report: {Path('outputs') / 'one' / 'report' / 'report.html'}"
    assert {file.name for file in study.report.iterdir()} == {"report.html", "report.md"}
    assert "one: report" in (study.report / "report.html").read_text()


def test_a_report_that_cannot_be_written_is_a_line_and_no_failure(tmp_path: Path) -> None:
    (tmp_path / "outputs" / "one").mkdir(parents=True)
    (tmp_path / "outputs" / "one" / "report").write_text("in the way")
    done = drill(tmp_path, "study.name=one", "study.report=true", "hydra.sweeper.n_trials=1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("no report: analysis.cli report")


@pytest.mark.slow
def test_one_trial_alone_has_no_report(tmp_path: Path) -> None:
    done = run("verl-sweep", "experiment=drill", "study.name=alone", "study.report=true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "outputs" / "alone" / "report").exists()

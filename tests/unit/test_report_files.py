"""Claims about what a report writes, with and without its packages, a browser, or sense in what a study is called."""

from __future__ import annotations

import csv
from pathlib import Path

import plotly.graph_objects
import pytest
from factory import KL, METRIC, StudyFactory, whole_study

from analysis.report import write
from analysis.report.content import content
from analysis.report.facts import read_facts
from analysis.report.page import embedded
from analysis.report.write import Wishes, write_report
from harness.errors import ConfigError
from harness.launchers import browser
from harness.status import load_study
from harness.types import Objective, TrialState


def test_every_figure_is_what_plotly_takes(tmp_path: Path) -> None:
    """They are written as plain data, without plotly's checks."""
    two = StudyFactory(tmp_path, "two", objectives=(Objective(metric=METRIC), Objective(metric="x|y")))
    for number in range(9):
        two.ended(number, values=(0.1 * number, 1.0 - number))
    figures = [figure for study in (whole_study(tmp_path), two) for figure in content(read_facts(load_study(study.paths))).figures]
    assert {"curves", "pareto", "parallel", "importance", "slices", "pairs", "timeline"} <= {figure.key for figure in figures}
    for figure in figures:
        for view in figure.views:
            plotly.graph_objects.Figure(data=view.data, layout=view.layout)


def test_tables_hold_every_trial_and_no_formula(tmp_path: Path) -> None:
    study = StudyFactory(tmp_path, knobs=(KL, "name"))
    study.ended(0, params={KL: 0.001, "name": "=1+1"}, values=(0.5,))
    study.ended(1, TrialState.FAIL, params={KL: 1e-4, "name": "b"}, message='died, "so"\nto say')
    paths = {path.name: path for path in write_report(load_study(study.paths), Wishes(tables="csv"))}
    with paths["trials.csv"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["trial"], row["state"], row[KL], row["name"]) for row in rows] == [
        ("0", "COMPLETE", "0.001", "'=1+1"),
        ("1", "FAIL", "0.0001", "b"),
    ]
    assert rows[1]["message"] == 'died, "so"\nto say'
    assert len(paths["configurations.csv"].read_text().splitlines()) == 3


def test_without_its_packages_there_is_the_markdown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "NEEDED", ("json", "no_such_package"))
    status = load_study(whole_study(tmp_path).paths)
    assert [path.name for path in write_report(status)] == ["report.md"]
    with pytest.raises(ConfigError, match=r"verl-sweep\[report\]"):
        write_report(status, Wishes(tables="csv"))


def test_without_a_browser_a_pdf_is_refused_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("BROWSER_PATH", raising=False)
    with pytest.raises(ConfigError, match="no browser on this host"):
        browser.print_pdf(tmp_path / "report.html", tmp_path / "report.pdf")


def test_no_text_ends_the_script_element_that_it_stands_in() -> None:
    text = embedded({"</script><!--": "\u2028&"})
    assert not set(text) & set("<>&\u2028")

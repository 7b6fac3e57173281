"""Claims about studies that are made of trainings which ran without this harness."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_study_cli import study_cli

from harness.paths import StudyPaths
from harness.status import load_study
from harness.types import Reason, TrialState

METRIC = "val-core/openai/gsm8k/acc/mean@1"
SIDECAR = """
objective: {metric: val-core/*/acc/mean@1}
runs:
  a0.jsonl: {params: {lr: 1.0e-5}, seed: 0}
  a1.jsonl: {params: {lr: 1.0e-5}, seed: 1}
  b0.jsonl: {params: {lr: 3.0e-5}, seed: 0}
  nan.jsonl: {params: {lr: 1.0e-2}, seed: 0}
"""


def write(folder: Path, name: str, *values: float | None) -> None:
    lines = [{"step": step, "data": {METRIC: value, "timing_s/step": 2.0, "timing_s/testing": 1.0}} for step, value in enumerate(values, 1)]
    (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "old-runs"
    folder.mkdir()
    write(folder, "a0.jsonl", 0.1, 0.5, 0.6)
    write(folder, "a1.jsonl", 0.1, 0.4, 0.5)
    write(folder, "b0.jsonl", 0.1, 0.2)
    write(folder, "nan.jsonl", 0.1, None, None)
    write(folder, "other.jsonl", 0.1, 0.2, 0.3)
    (folder / "notes.jsonl").write_text('{"step": 1, "data": {"loss": 1.0}}\n')
    (folder / "runs.yaml").write_text(SIDECAR)
    return folder


def test_runs_become_trials_with_their_seeds_and_ends(runs: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    done = study_cli(outputs, "import", str(runs))
    assert (done.returncode, done.stdout) == (0, "study old-runs: 5 runs; verl-study report old-runs reports it\n")
    status = load_study(StudyPaths(outputs / "old-runs"))
    assert [(trial.state, trial.reason) for trial in status.trials] == [
        (TrialState.COMPLETE, Reason.FINISHED),
        (TrialState.COMPLETE, Reason.FINISHED),
        (TrialState.PRUNED, Reason.USER),
        (TrialState.FAIL, Reason.NON_FINITE),
        (TrialState.COMPLETE, Reason.FINISHED),
    ]
    result = status.result()
    assert result is not None
    assert (result.best.trials, result.best.seeds, result.best.mean) == ((0, 1), (0, 1), pytest.approx(0.55))
    assert status.trials[0].seconds == 9.0
    assert [trial.params for trial in status.trials][3:] == [{"lr": 0.01}, {"file": "other.jsonl"}]


def test_such_a_study_has_a_report(runs: Path, tmp_path: Path) -> None:
    study_cli(tmp_path / "outputs", "import", str(runs), "--name", "old")
    done = study_cli(tmp_path / "outputs", "report", "old")
    assert done.returncode == 0, done.stderr
    assert "What to use" in Path(done.stdout.strip()).read_text()


@pytest.mark.parametrize(
    ("sidecar", "said"),
    [
        (None, "runs.yaml is missing"),
        ("runs: {}", "there is no 'objective'"),
        ("objective: {metric: loss, direction: up}", "Invalid enum value 'up'"),
        ("- a", "expected objective"),
        ("objective: {metric: never}", "has logged never"),
        ("objective: {metric: val-core/*/acc/mean@1}\nruns: {a0.jsonl: {seed: one}}", "a0.jsonl: expected params"),
    ],
)
def test_what_cannot_be_known_is_one_sentence_and_nothing_is_written(runs: Path, tmp_path: Path, sidecar: str | None, said: str) -> None:
    (runs / "runs.yaml").unlink()
    if sidecar is not None:
        (runs / "runs.yaml").write_text(sidecar)
    done = study_cli(tmp_path / "outputs", "import", str(runs))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert said in done.stderr
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("name", ["../x", "a b", "..", "x" * 65])
def test_a_name_that_no_study_may_have_is_refused(runs: Path, tmp_path: Path, name: str) -> None:
    done = study_cli(tmp_path / "outputs", "import", str(runs), "--name", name)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr


def test_a_study_is_never_written_over(runs: Path, tmp_path: Path) -> None:
    study_cli(tmp_path, "import", str(runs), "--name", "one")
    assert study_cli(tmp_path, "import", str(runs), "--name", "one").returncode == 2

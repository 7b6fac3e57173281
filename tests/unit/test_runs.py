"""Claims about studies that are made of trainings which ran without this harness."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest
from test_study_cli import command, environment, study_cli

from harness.paths import StudyPaths
from harness.status import load_study
from harness.types import Direction, Objective, Reason, Reduction, TrialState

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
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [
            "study old-runs: 5 runs; verl-study report old-runs reports it",
            "knobs: lr, file",
            "left out: 1 without val-core/*/acc/mean@1",
        ],
    )
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


def test_without_a_word_beside_them_runs_are_configurations_of_their_own_and_the_objective_is_the_default(
    runs: Path, tmp_path: Path
) -> None:
    (runs / "runs.yaml").unlink()
    assert study_cli(tmp_path / "outputs", "import", str(runs)).returncode == 0
    status = load_study(StudyPaths(tmp_path / "outputs" / "old-runs"))
    assert [trial.params["file"] for trial in status.trials] == ["a0.jsonl", "a1.jsonl", "b0.jsonl", "nan.jsonl", "other.jsonl"]
    assert status.record.objectives == (Objective(metric="val-core/*/acc/mean@1"),)


def test_the_command_line_names_another_objective(runs: Path, tmp_path: Path) -> None:
    words = ("--objective", "timing_s/step", "--direction", "minimize", "--reduction", "area")
    assert study_cli(tmp_path / "outputs", "import", str(runs), *words).returncode == 0
    status = load_study(StudyPaths(tmp_path / "outputs" / "old-runs"))
    assert status.record.objectives == (Objective(metric="timing_s/step", direction=Direction.MINIMIZE, reduction=Reduction.AREA),)
    assert status.trials[0].values == (2.0,)


def test_such_a_study_has_a_report(runs: Path, tmp_path: Path) -> None:
    study_cli(tmp_path / "outputs", "import", str(runs), "--name", "old")
    done = study_cli(tmp_path / "outputs", "report", "old")
    assert done.returncode == 0, done.stderr
    assert "What to use" in Path(done.stdout.strip()).read_text()


@pytest.mark.parametrize(
    ("sidecar", "said"),
    [
        ("runs: [", "is not readable"),
        ("runs: 3", "expected the mappings objective and runs"),
        ("- a", "expected the mappings objective and runs"),
        ("objective: {goal: up}", "objective has no goal; it takes metric, direction, reduction, window"),
        ("objective: {metric: loss, direction: up}", "objective.direction: expected one of maximize, minimize, got 'up'"),
        ("objective: {metric: [loss, reward]}", "objective takes one metric, by its name or pattern"),
        (
            "objective: {metric: never}",
            "no run there has logged never; --objective takes val-core/openai/gsm8k/acc/mean@1, loss, timing_s/step, timing_s/testing",
        ),
        ("runs: {a0.jsonl: {seed: one}}", "runs: a0.jsonl: expected {params: {...}, seed: 0}"),
        ("runs: {a0.jsonl: {params: {lr: [1, 2]}}}", "runs: a0.jsonl: expected {params: {...}, seed: 0}"),
        ("runs: {othr.jsonl: {params: {}}}", "there is no othr.jsonl; did you mean other.jsonl?"),
    ],
)
def test_what_cannot_be_known_is_one_sentence_and_nothing_is_written(runs: Path, tmp_path: Path, sidecar: str, said: str) -> None:
    (runs / "runs.yaml").write_text(sidecar)
    done = study_cli(tmp_path / "outputs", "import", str(runs))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert said in done.stderr
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("name", ["../x", "a b", "..", "x" * 65])
def test_a_name_that_no_study_may_have_is_refused(runs: Path, tmp_path: Path, name: str) -> None:
    done = study_cli(tmp_path / "outputs", "import", str(runs), "--name", name)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr


@pytest.mark.parametrize("words", [("repro", "0", "--study", "old"), ("export", "old"), ("resume", "old")])
def test_no_command_is_made_up_for_runs_that_none_of_ours_began(runs: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    study_cli(tmp_path, "import", str(runs), "--name", "old")
    done = study_cli(tmp_path, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("verl-study: no command began study old, it was made of the metric files in old-runs")
    assert "verl-study repro" not in study_cli(tmp_path, "show", "old").stdout


def test_a_study_is_never_written_over(runs: Path, tmp_path: Path) -> None:
    study_cli(tmp_path, "import", str(runs), "--name", "one")
    again = study_cli(tmp_path, "import", str(runs), "--name", "one")
    assert (again.returncode, "is there already" in again.stderr) == (2, True)


def test_nothing_is_left_of_a_study_that_could_not_be_written(runs: Path, tmp_path: Path) -> None:
    write(runs, "long.jsonl", *[0.1] * 1000)
    importing = shlex.join(command("import", str(runs)))
    words = ["sh", "-c", f"ulimit -f 16; {importing}"]  # blocks of 512 bytes: a disk that is full
    done = subprocess.run(words, capture_output=True, text=True, env=environment(tmp_path / "outputs"), timeout=60, check=False)
    assert (done.returncode, "File too large" in done.stderr) == (1, True)
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nowhere", "nowhere holds neither verl's metrics (*.jsonl) nor W&B runs"),
        ("wandb://team", "expected wandb://ENTITY/PROJECT, got wandb://team"),
        ("outputs/old-runs", "is a study already"),
    ],
)
def test_a_source_that_holds_no_runs_is_refused(
    runs: Path, tmp_path: Path, source: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study_cli(Path("outputs"), "import", str(runs))
    done = study_cli(Path("outputs"), "import", source, "--name", "new")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert said in done.stderr


def test_data_that_lies_about_as_json_lines_is_no_run(runs: Path, tmp_path: Path) -> None:
    (runs / "train.jsonl").write_text('{"question": "1 + 1", "answer": "2"}\n' * 20)
    done = study_cli(tmp_path / "outputs", "import", str(runs))
    assert "left out: 1 without" in done.stdout, "that is notes.jsonl"

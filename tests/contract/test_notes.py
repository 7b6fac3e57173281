"""Notes on trials, read by Optuna's dashboard itself."""

from __future__ import annotations

import warnings
from pathlib import Path

import commands
import optuna
import pytest
from optuna_dashboard import get_note

from harness.paths import StudyPaths
from harness.types import Reason, TrialState
from sweeps import notes, storage
from sweeps.runner import Outcome

PRUNED = Outcome(state=TrialState.PRUNED, reason=Reason.PRUNED, message="0.15 at step 12: too weak for the median pruner")


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    return optuna.create_study(storage=storage.journal(tmp_path / "journal.log"))


@pytest.mark.parametrize("length", [0, 10, 2045, 2046, 10_000])
def test_the_dashboard_reads_a_note_of_any_length(length: int, study: optuna.Study) -> None:
    other, trial = study.ask(), study.ask()
    text = ("abcdefghij" * 1000)[:length]
    notes.save(study, trial._trial_id, text)
    assert get_note(trial) == text
    assert get_note(other) == ""


def test_a_note_says_how_the_trial_ended_and_leads_on(tmp_path: Path) -> None:
    text = notes.trial_note(StudyPaths(tmp_path / "first"), 7, PRUNED, page="https://wandb.test/team/first/runs/first-abc123-0007")
    assert text.startswith("**PRUNED** 0.15 at step 12: too weak for the median pruner\n")
    assert "[the run of this trial](https://wandb.test/team/first/runs/first-abc123-0007)" in text
    assert "`verl-study logs first 7`" in text
    assert str(tmp_path / "first") in text


def test_each_trial_of_a_study_has_its_note(tmp_path: Path) -> None:
    assert commands.drill(tmp_path, "hydra.sweeper.n_trials=2", "study.name=noted", "steps=3").returncode == 0
    study = StudyPaths(tmp_path / "outputs" / "noted")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kept = optuna.load_study(study_name="noted", storage=storage.journal(study.journal))
    for trial in kept.trials:
        text = get_note(optuna.Trial(kept, trial._trial_id))
        assert text.startswith(f"**{trial.state.name}**")
        assert f"verl-study show noted {trial.number}" in text

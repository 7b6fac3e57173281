"""What Optuna's dashboard shows beside a trial: how it ended, and where to look further; in the dashboard's own form of a note.

A note is an attribute of the study, in pieces (optuna_dashboard.save_note, 0.21): written here without that package, which brings a web
server along. The controller writes it, because a journal has one writer.
"""

from __future__ import annotations

import shlex

import optuna

from harness.paths import StudyPaths
from harness.wording import cause
from sweeps.runner import Outcome

_PIECE = 2045  # characters: what a column of a database takes


def trial_note(study: StudyPaths, number: int, outcome: Outcome, *, page: str | None) -> str:
    """Markdown. `page`: where the trial's run is, if a tracker has pages; pure."""
    name, trial = shlex.quote(study.name), study.trial(number)
    commands = (f"verl-study show {name} {number}", f"verl-study logs {name} {number}", f"verl-study repro {number} --study {name}")
    links = [f"- [the run of this trial]({page})"] if page else []
    lines = [f"**{cause(outcome.state, outcome.reason)}** {outcome.message}".strip(), ""]
    return "\n".join([*lines, *links, *(f"- `{command}`" for command in commands), f"- `{trial.root.name}` in `{study.root.absolute()}`"])


def save(study: optuna.Study, trial_id: int, text: str) -> None:
    """In the place of an earlier one. `trial_id` is the storage's, which is not the trial's number where studies share a database."""
    pieces = [text[begin : begin + _PIECE] for begin in range(0, len(text), _PIECE)]
    for index, piece in enumerate(pieces):
        study._storage.set_study_system_attr(study._study_id, f"dashboard:{trial_id}:note_str:{index}", piece)
    study._storage.set_study_system_attr(study._study_id, f"dashboard:{trial_id}:note_ver", 1)  # last: with it, the note is whole

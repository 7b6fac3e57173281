"""A study's journal: the format of Optuna's own journal file, for one writer at a time; heals what a crash tore, and stays small.

Optuna's file grows by a line for every value that is reported, and a line that a crash tore makes it unreadable for ever. Here a torn end
is cut off when the journal is opened, and kept beside it; and once the lines of trials that have ended outweigh what they say, each such
trial is written anew as one line, which is what Optuna itself writes for a trial that is added whole. Optuna and its dashboard read it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.study import StudyDirection
from optuna.trial import TrialState

from harness.errors import ConfigError

_Line = dict[str, Any]
LEAST_BYTES = 2 * 2**20  # below it nothing is gained
_GROWTH = 1.25  # rewritten when so much larger than after the last time


class JournalFile(BaseJournalBackend):
    """The lines of a file, numbered from its first as Optuna counts them, though the file may have been rewritten since."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError where the file is damaged elsewhere than at its end, or belongs to nobody's journal."""
        self.path = path
        self._number = 0  # of lines that were handed on
        self._new: list[_Line] = []  # lines that were not
        self._loaded = heal(path)
        self._size = path.stat().st_size
        self._small = self._size  # after it was last rewritten

    def read_logs(self, log_number_from: int) -> Iterator[_Line]:
        """The lines from that number on; each is handed on once."""
        self._take_foreign_lines()
        new, self._new = (self._loaded + self._new)[log_number_from - self._number :], []
        self._loaded = []
        self._number = log_number_from + len(new)
        return iter(new)

    def append_logs(self, logs: list[_Line]) -> None:
        """All of them, or none. Raises OSError where there is no room for them."""
        data = b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in logs)
        with self.path.open("r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # dies with its holder
            self._take_foreign_lines()
            try:
                file.seek(self._size)
                written = file.write(data)
                if written != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
                os.fsync(file.fileno())
            except BaseException:
                file.truncate(self._size)
                raise
        self._size += len(data)
        self._new += logs

    @property
    def is_bloated(self) -> bool:
        return self._size > max(LEAST_BYTES, _GROWTH * self._small + LEAST_BYTES)

    def rewrite(self, lines: list[_Line]) -> None:
        """Replaces the file's content by lines that say the same."""
        beside = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        try:
            with beside.open("xb") as file:
                for line in lines:
                    file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.path)
        finally:
            beside.unlink(missing_ok=True)
        self._size = self._small = self.path.stat().st_size

    def _take_foreign_lines(self) -> None:
        """What others have appended: Optuna's dashboard keeps notes in the journal."""
        size = self.path.stat().st_size
        if size <= self._size:
            return
        with self.path.open("rb") as file:
            file.seek(self._size)
            whole, _, _ = file.read().rpartition(b"\n")
        self._new += [line for line in map(_parsed, whole.splitlines()) if line is not None]
        self._size += len(whole) + 1 if whole else 0


class StudyStorage(JournalStorage):
    """Optuna's journal storage, which rewrites its file when that has grown far beyond what it says."""

    def __init__(self, path: Path) -> None:
        self._file = JournalFile(path)
        super().__init__(self._file)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Any = None) -> bool:
        done = super().set_trial_state_values(trial_id, state, values)
        if state.is_finished() and self._file.is_bloated:
            self.compact()
        return done

    def compact(self) -> None:
        """One line for each trial."""
        if len(self.get_all_studies()) != 1:
            return  # a file that others made, with more than one study in it
        self._file.rewrite(_as_few_lines(self))


class _Lines(BaseJournalBackend):
    """A journal in memory."""

    def __init__(self) -> None:
        self.lines: list[_Line] = []

    def read_logs(self, log_number_from: int) -> Iterator[_Line]:
        return iter(self.lines[log_number_from:])

    def append_logs(self, logs: list[_Line]) -> None:
        self.lines += logs


def _as_few_lines(storage: JournalStorage) -> list[_Line]:
    """What Optuna itself would write for a study whose trials are added whole."""
    backend = _Lines()
    copy = JournalStorage(backend)
    (study,) = storage.get_all_studies()
    number = copy.create_new_study([StudyDirection(direction) for direction in study.directions], study.study_name)
    for name, value in study.user_attrs.items():
        copy.set_study_user_attr(number, name, value)
    for name, value in study.system_attrs.items():
        copy.set_study_system_attr(number, name, value)
    for trial in storage.get_all_trials(study._study_id, deepcopy=False):
        copy.create_new_trial(number, template_trial=trial)
    return backend.lines


def heal(path: Path) -> list[_Line]:
    """The lines of a journal, which is made where there is none; what follows the last whole line is moved into a file beside it.

    Raises ConfigError where whole lines follow damaged ones: no crash does that, and what is missing cannot be known.
    """
    path.touch()
    data = path.read_bytes()
    lines: list[_Line] = []
    end = place = 0  # behind the last whole line; of the line that is read
    for raw in data.splitlines(keepends=True):
        line = _parsed(raw) if raw.endswith(b"\n") else None
        place += len(raw)
        if line is None:
            continue
        if end != place - len(raw):
            raise ConfigError(
                f"{path} is damaged at byte {end}, before lines that are whole; restore it, or start under another study.name"
            )
        lines.append(line)
        end = place
    if end < len(data):
        _keep_damage(path, data[end:])
        os.truncate(path, end)
    return lines


def _keep_damage(path: Path, damaged: bytes) -> None:
    beside = next(path.with_name(f"{path.name}.damaged-{number}") for number in range(10**6) if not _exists(path, number))
    with beside.open("xb") as file:
        file.write(damaged)


def _exists(path: Path, number: int) -> bool:
    return path.with_name(f"{path.name}.damaged-{number}").exists()


def _parsed(raw: bytes) -> _Line | None:
    """A line of a journal; None where it is none."""
    try:
        line = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        try:
            line = json.loads(raw)  # NaN and infinities, which Python writes and JSON does not know
        except ValueError:
            return None
    return line if isinstance(line, dict) and isinstance(line.get("op_code"), int) else None

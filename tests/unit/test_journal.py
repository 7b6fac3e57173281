"""A journal says the same after a crash, a rewrite and a full disk; only what was torn is lost, and that is kept beside it."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from harness.errors import ConfigError
from sweeps import journal
from sweeps.journal import StudyStorage

SPACE: dict[str, BaseDistribution] = {"lr": FloatDistribution(1e-6, 1e-3, log=True), "n": CategoricalDistribution((4, 8))}
GARBAGE = (b"\x00" * 4096, b"\xff\xfe{", b'{"op_code": 4, "wor', b"12\n", b'"text"\n\n', b'{"no": "op_code"}\n', b"\n")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.log"


def a_study(path: Path, *, trials: int = 3, steps: int = 3) -> optuna.Study:
    study = optuna.create_study(storage=StudyStorage(path), study_name="s", sampler=optuna.samplers.RandomSampler(seed=0))
    study.set_user_attr("note", "ä")
    for number in range(trials):
        trial = study.ask(SPACE)
        for step in range(steps):
            trial.report(float("inf") if number == step == 1 else 0.1 * step, step)
        trial.set_user_attr("reason", "finished")
        study.tell(trial, 0.1 * number)
    study.ask(SPACE).report(0.5, 1)  # one that runs
    return study


def content(storage: Any) -> list[Any]:
    study = optuna.load_study(study_name="s", storage=storage)
    return [study.user_attrs, study.directions, *study.trials]


def plain(path: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))


def damaged(path: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted(path.parent.glob("*.damaged-*"))]


def test_optuna_reads_our_journal_and_we_read_optunas(path: Path, tmp_path: Path) -> None:
    a_study(path)
    assert content(plain(path)) == content(StudyStorage(path))
    theirs = tmp_path / "theirs.log"
    study = optuna.create_study(storage=plain(theirs), study_name="s")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    assert content(StudyStorage(theirs)) == content(plain(theirs))


def test_a_journal_torn_at_any_byte_of_its_last_three_lines_says_what_its_whole_lines_say(path: Path, tmp_path: Path) -> None:
    a_study(path)
    data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    for place in range(len(data) - sum(map(len, lines[-3:])), len(data)):
        folder = tmp_path / str(place)
        folder.mkdir()
        torn, whole = folder / "journal.log", folder / "whole.log"
        torn.write_bytes(data[:place])
        end = data[:place].rfind(b"\n") + 1
        whole.write_bytes(data[:end])
        assert content(StudyStorage(torn)) == content(plain(whole))
        assert torn.read_bytes() == data[:end]
        assert damaged(torn) == ([data[end:place]] if place > end else [])


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_behind_a_journal_is_cut_off_and_kept(path: Path, garbage: bytes) -> None:
    before = content(a_study(path)._storage)
    with path.open("ab") as file:
        file.write(garbage)
    study = optuna.load_study(study_name="s", storage=StudyStorage(path))
    assert content(study._storage) == before
    assert damaged(path) == [garbage]
    study.tell(3, 1.0)
    assert content(plain(path)) == content(study._storage) != before
    path.write_bytes(path.read_bytes() + garbage)
    StudyStorage(path)
    assert damaged(path) == [garbage, garbage]


def test_damage_before_whole_lines_is_refused_and_nothing_is_changed(path: Path) -> None:
    a_study(path)
    data = path.read_bytes()
    hurt = data.replace(b'"op_code":4', b'"op_code":4"', 1)
    path.write_bytes(hurt)
    with pytest.raises(ConfigError, match=r"journal\.log is damaged at byte \d+, before lines that are whole; restore it"):
        StudyStorage(path)
    assert path.read_bytes() == hurt


def test_a_rewritten_journal_says_the_same_in_a_line_a_trial(path: Path) -> None:
    study = a_study(path, trials=20, steps=30)
    before, size = content(study._storage), path.stat().st_size
    study._storage.compact()
    assert content(StudyStorage(path)) == content(plain(path)) == content(study._storage) == before
    assert path.stat().st_size < size / 4
    study.tell(20, 0.7)  # the storage that rewrote it goes on
    study.ask(SPACE)
    assert content(plain(path)) == content(study._storage)
    assert len(study.trials) == 22


def test_it_is_rewritten_by_itself_once_it_is_worth_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "LEAST_BYTES", 10_000)
    study = a_study(path, trials=40, steps=20)
    assert content(plain(path)) == content(study._storage)
    assert len(path.read_bytes().splitlines()) < 40 * 10


def test_lines_of_others_are_taken_in_and_survive_a_rewrite(path: Path) -> None:
    study = a_study(path)
    optuna.load_study(study_name="s", storage=plain(path)).set_user_attr("by", "a dashboard")
    study.tell(3, 1.0)
    assert study.user_attrs["by"] == "a dashboard"
    study._storage.compact()
    assert content(plain(path))[0]["by"] == "a dashboard"


def test_the_lock_of_a_dead_writer_holds_nobody_up(path: Path) -> None:
    a_study(path)
    program = "import fcntl, sys; file = open(sys.argv[1], 'r+b'); fcntl.flock(file, fcntl.LOCK_EX); print('held', flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    holder.kill()
    holder.communicate()
    (path.parent / "journal.log.lock").touch()  # what Optuna's own lock leaves behind, which holds its next writer up for 30 s
    began = time.monotonic()
    optuna.load_study(study_name="s", storage=StudyStorage(path)).tell(3, 1.0)
    assert time.monotonic() - began < 2


@contextlib.contextmanager
def no_room_beyond(size: int) -> Iterator[None]:
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("room", [0, 1, 50])
def test_without_room_a_line_is_written_whole_or_not_at_all(path: Path, room: int) -> None:
    study = a_study(path)
    before = path.read_bytes()
    with no_room_beyond(len(before) + room), pytest.raises(OSError, match=r"(?i)file too large|no space"):
        study.tell(3, 1.0)
    assert path.read_bytes() == before
    study.tell(3, 1.0)
    assert content(plain(path)) == content(study._storage)


def test_a_rewrite_without_room_leaves_the_journal_as_it_was(path: Path) -> None:
    study = a_study(path)
    before = path.read_bytes()
    with no_room_beyond(100), pytest.raises(OSError, match=r"(?i)file too large|no space"):
        study._storage.compact()
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["journal.log"]  # noqa: PTH208 (hidden ones too)

"""A disk that is full and a folder that is read-only are told in a sentence; nothing is lost, and looking still works."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import commands
import optuna
import pytest
from commands import left_alive, results
from test_controller_dies import SLOW

from harness.paths import StudyPaths
from sweeps import storage

Mount = Callable[..., None]
MIB = 2**20
LEAST = 200  # MiB, that a study asks for


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, with hardly more room than a study asks for."""
    folder = tmp_path / "disk"
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={LEAST + 10}m", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")


def fill(disk: Path) -> Path:
    """To the last byte."""
    file = disk / "filler"
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as filler:
        while True:
            filler.write(b"\0" * MIB)
    return file


def told(study: StudyPaths) -> list[str]:
    return [trial.state.name for trial in optuna.load_study(study_name=study.name, storage=storage.journal(study.journal)).trials]


@pytest.mark.slow
def test_a_disk_that_fills_up_in_the_midst_ends_the_controller_with_a_sentence_and_loses_nothing(disk: Path) -> None:
    controller = commands.start("verl-sweep", *SLOW, cwd=disk)
    study = StudyPaths(disk / "outputs" / "two")
    commands.wait_until(lambda: len(list(study.root.glob("trial-*/attempt-0/metrics.jsonl"))) == 2, meanwhile=[controller])
    filler = fill(disk)
    _, err = controller.communicate(timeout=commands.TIMEOUT_S)
    assert controller.returncode == 1, err
    assert err.count("\n") == 1, err
    assert "No space left on device" in err
    assert "the same command takes it over once there is room" in err
    later = commands.run("verl-study", "resume", "two", cwd=disk)
    assert (later.returncode, later.stderr.count("\n")) == (2, 1), later.stderr
    assert "MiB left on its disk" in later.stderr
    looked = [commands.run("verl-study", *words, cwd=disk) for words in (("list",), ("show", "two"), ("show", "two", "0"))]
    assert [done.returncode for done in looked] == [0] * 3
    filler.unlink()
    ran = commands.run("verl-study", "resume", "two", cwd=disk)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [result.state.value for result in results(study).values()] == told(study) == ["COMPLETE"] * 3
    assert left_alive(study) == []


@pytest.mark.slow
def test_a_read_only_study_can_be_looked_at_and_is_not_launched(disk: Path) -> None:
    arguments = ("-m", "experiment=drill", *commands.QUICK)
    assert commands.run("verl-sweep", *arguments, "hydra.sweeper.n_trials=1", "study.name=one", cwd=disk).returncode == 0
    _mount("-o", "remount,ro", str(disk))
    before = commands.listing(disk)
    for words in (
        ("list",),
        ("list", "--json"),
        ("show", "one"),
        ("show", "one", "0"),
        ("watch", "one"),
        ("logs", "one", "0", "--metrics"),
        ("repro", "0"),
    ):
        looked = commands.run("verl-study", *words, cwd=disk)
        assert (looked.returncode, looked.stderr) == (0, ""), looked.stderr
        assert looked.stdout
    for program, words in (
        ("verl-sweep", (*arguments, "hydra.sweeper.n_trials=2", "study.name=one")),
        ("verl-sweep", (*arguments, "study.name=new")),
        ("verl-study", ("resume", "one")),
    ):
        done = commands.run(program, *words, cwd=disk)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        assert "is not writable; give another folder with paths.outputs=..." in done.stderr
    done = commands.run("verl-study", "report", "one", cwd=disk)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "Read-only file system" in done.stderr
    assert commands.listing(disk) == before

"""Whatever record of a study is torn, a launch says which and what to do, and starts nothing; the rest can be looked at."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import commands
import pytest
from commands import left_alive, results
from test_bad_input import Refused, refused  # noqa: F401 (a fixture)
from test_controller_dies import SLOW, killed_amid

from harness import records
from harness.paths import StudyPaths
from harness.types import Lease, TrialSpec

GARBAGE = b"\x00\xff{[garbage\n" * 9


def hurt(data: bytes) -> Iterator[bytes]:
    """Emptied, torn, and overwritten."""
    yield b""
    yield data[: len(data) // 2]
    yield GARBAGE


def dead_amid(folder: Path) -> StudyPaths:
    """A study whose controller and engines were killed while two of its three trials trained."""
    study = killed_amid(folder, *SLOW)
    for engine in study.engines():
        os.kill(records.read(engine.lease, Lease).pid, signal.SIGKILL)
    commands.wait_until(lambda: not left_alive(study))
    return study


@pytest.mark.parametrize(
    "every", [pytest.param(False, marks=pytest.mark.slow), pytest.param(True, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_a_damaged_record_is_named_with_the_cure_and_once_it_is_restored_the_study_goes_on(
    tmp_path: Path,
    refused: Refused,  # noqa: F811
    every: bool,
) -> None:
    study = dead_amid(tmp_path)
    trial, engine = study.trial(1), study.engines()[1]
    last = trial.attempts()[-1]
    cures = {
        study.record: "restore it, or give the new study another name with study.name=...",
        trial.spec: f"restore it, or remove {trial.root.relative_to(tmp_path)}, and the trial runs again",
        trial.result: f"restore it, or remove {trial.root.relative_to(tmp_path)}, and the trial runs again",
        last.spec: f"restore it, or remove {trial.root.relative_to(tmp_path)}, and the trial runs again",
        last.result: f"restore it, or remove {trial.root.relative_to(tmp_path)}, and the trial runs again",
        last.stop: f"restore it, or remove {trial.root.relative_to(tmp_path)}, and the trial runs again",
        engine.command: f"restore it, or remove {engine.root.relative_to(tmp_path)}: what it was training runs again",
        engine.lease: f"restore it, or remove {engine.root.relative_to(tmp_path)}: what it was training runs again",
        engine.assignments()[0]: f"restore it, or remove {engine.root.relative_to(tmp_path)}: what it was training runs again",
    }
    for index, (path, cure) in enumerate(cures.items()):
        before = path.read_bytes() if path.exists() else None
        kinds = list(hurt(before or b'{"schema": 1, "record": "TrialResult"}'))
        for data in kinds if every else [kinds[index % 3]]:  # each in one of three ways, or in all
            path.write_bytes(data)
            sentence = refused(*SLOW)
            assert str(path.relative_to(tmp_path)) in sentence, sentence
            assert sentence.endswith(cure)
            if every:
                shown = commands.run("verl-study", "show", "two", cwd=tmp_path)
                assert (shown.returncode, "Traceback" in shown.stderr) == (2 if path == study.record else 0, False)
        path.unlink() if before is None else path.write_bytes(before)
    study.record.rename(tmp_path / "aside")
    assert refused(*SLOW).endswith("holds trials, but no study.yaml; restore it, or give another study.name")
    (tmp_path / "aside").rename(study.record)
    for torn in (last.events, engine.events):
        with torn.open("ab") as log:
            log.write(b'{"at": 17')
    ran = commands.run("verl-study", "resume", "two", cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [(result.state.value, result.attempts) for result in results(study).values()] == [("COMPLETE", 2)] * 2 + [("COMPLETE", 1)]


@pytest.mark.slow
def test_the_cures_are_true(tmp_path: Path) -> None:
    """A trial's folder that was removed, and an engine's: their trials run again, under the same number with the same point."""
    study = dead_amid(tmp_path)
    before = [records.read(trial.spec, TrialSpec).params for trial in study.trials()]
    shutil.rmtree(study.trial(0).root)
    shutil.rmtree(study.engines()[1].root)
    ran = commands.run("verl-study", "resume", "two", cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [result.state.value for result in results(study).values()] == ["COMPLETE"] * 3
    assert [records.read(trial.spec, TrialSpec).params for trial in study.trials()][:2] == before
    assert left_alive(study) == []

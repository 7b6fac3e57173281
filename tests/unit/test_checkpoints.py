"""Which checkpoints count, whatever a kill, a full disk or a careless hand has left of them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import checkpoints
from harness.errors import NoSpaceForCheckpoint

FILES = {
    "actor/model_world_size_1_rank_0.pt": 300,
    "actor/optim_world_size_1_rank_0.pt": 600,
    "actor/huggingface/config.json": 20,
    "data.pt": 5,
}


def write(folder: Path, step: int) -> Path:
    """As verl does, up to its note of the newest one."""
    path = checkpoints.folder_of(folder, step)
    for name, size in FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(bytes(size))
    (folder / checkpoints.TRACKER).write_text(str(step))
    return path


def save(folder: Path, step: int) -> Path:
    path = write(folder, step)
    checkpoints.seal(folder, step)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path, 4)
    save(tmp_path, 12)
    return tmp_path


def steps(folder: Path) -> list[int]:
    return [checkpoint.step for checkpoint in checkpoints.complete(folder)]


def test_whole_ones_come_newest_first_with_their_size(folder: Path) -> None:
    assert [(found.path.name, found.step, found.bytes) for found in checkpoints.complete(folder)] == [
        ("global_step_12", 12, 925),
        ("global_step_4", 4, 925),
    ]
    assert checkpoints.torn(folder, after=12) == []


def test_a_folder_that_is_not_there_holds_none(tmp_path: Path) -> None:
    assert checkpoints.complete(tmp_path / "none") == []
    assert checkpoints.torn(tmp_path / "none", after=0) == []
    assert checkpoints.size(tmp_path / "none") == 0


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_makes_a_checkpoint_torn(folder: Path, name: str) -> None:
    with (folder / "global_step_12" / name).open("rb+") as file:
        file.truncate(3)
    assert steps(folder) == [4]
    assert checkpoints.torn(folder, after=4) == [f"the checkpoint of step 12 is torn ({name} has 3 bytes of {FILES[name]})"]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_makes_a_checkpoint_torn(folder: Path, name: str) -> None:
    (folder / "global_step_12" / name).unlink()
    assert steps(folder) == [4]
    assert checkpoints.torn(folder, after=4) == [f"the checkpoint of step 12 lacks {name}"]


def test_a_save_that_did_not_come_to_its_end_does_not_count_even_where_verl_noted_it(folder: Path) -> None:
    write(folder, 20)
    (folder / "global_step_24").mkdir()
    assert steps(folder) == [12, 4]
    assert checkpoints.torn(folder, after=12) == [
        "the checkpoint of step 24 was never finished",
        "the checkpoint of step 20 was never finished",
    ]


@pytest.mark.parametrize(("note", "says"), [("", []), ("2x", []), ("20", ["the checkpoint of step 20 is missing"]), ("4", [])])
def test_verls_note_decides_nothing(folder: Path, note: str, says: list[str]) -> None:
    (folder / checkpoints.TRACKER).write_text(note)
    assert steps(folder) == [12, 4]
    assert checkpoints.torn(folder, after=12) == says


@pytest.mark.parametrize("text", ["", "{", '{"schema": 1}', '{"schema": 1, "record": "Seal", "step": 12, "files": {}}'])
def test_a_seal_that_vouches_for_nothing_makes_a_checkpoint_torn(folder: Path, text: str) -> None:
    (folder / "global_step_12" / checkpoints.SEAL).write_text(text)
    assert steps(folder) == [4]
    assert len(checkpoints.torn(folder, after=4)) == 1


def test_a_copied_seal_vouches_for_its_own_step_only(folder: Path) -> None:
    (folder / "global_step_12").rename(folder / "global_step_13")
    assert steps(folder) == [4]
    assert checkpoints.torn(folder, after=12) == ["the checkpoint of step 13 carries the seal of step 12"]


def test_before_a_save_what_is_there_of_the_same_step_goes(folder: Path) -> None:
    """Its seal would vouch for files of the same sizes that are only half written."""
    assert checkpoints.prepare(folder, 12, 10) == 925
    assert not (folder / "global_step_12").exists()
    write(folder, 12)
    assert steps(folder) == [4]


def test_the_first_one_is_expected_to_be_as_large_as_the_trainer_says(tmp_path: Path) -> None:
    assert checkpoints.prepare(tmp_path / "checkpoints", 1, 10) == 10


def test_a_disk_that_is_too_full_is_refused_in_one_sentence_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(NoSpaceForCheckpoint, match=r"^no space for a checkpoint: .* free; ") as caught:
        checkpoints.prepare(tmp_path, 1, 2**60)
    assert (caught.value.wanted_bytes, str(caught.value).count("\n")) == (2**60, 0)
    assert caught.value.free_bytes > 0
    assert list(tmp_path.iterdir()) == []


def test_one_as_large_as_the_last_is_refused_where_the_disk_does_not_hold_it(folder: Path) -> None:
    with (folder / "global_step_12/actor/padding").open("wb") as file:
        file.truncate(2**42)  # on paper: nothing is written
    checkpoints.seal(folder, 12)
    with pytest.raises(NoSpaceForCheckpoint):
        checkpoints.prepare(folder, 13, 1)
    assert steps(folder) == [12, 4]


def test_the_newest_are_kept(folder: Path) -> None:
    save(folder, 16)
    assert checkpoints.keep_newest(folder, 2) == [4]
    assert steps(folder) == [16, 12]
    assert checkpoints.keep_newest(folder, 0) == [12], "the last one is never removed"
    assert sorted(path.name for path in folder.iterdir()) == ["global_step_16", checkpoints.TRACKER]


def test_removal_tells_what_it_freed(folder: Path) -> None:
    before = checkpoints.size(folder)
    freed = checkpoints.remove(folder / "global_step_12")
    assert freed == before - checkpoints.size(folder) > 925
    assert checkpoints.remove(folder / "global_step_12") == 0


SAVES_FOR_EVER = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
import test_checkpoints
from harness import checkpoints
folder, step = Path(sys.argv[1]), 0
while True:
    step += 1
    checkpoints.prepare(folder, step, 1)
    test_checkpoints.save(folder, step)
    checkpoints.keep_newest(folder, 2)
    print(step, flush=True)
"""


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_whenever_a_save_is_killed_the_last_one_that_was_finished_counts(tmp_path: Path, kills: int) -> None:
    for kill in range(kills):
        folder = tmp_path / str(kill)
        finished = finished_before_the_kill(folder, after_s=kill * 0.0037 % 0.1)
        newest = checkpoints.complete(folder)[0]
        assert newest.step in (finished, finished + 1)
        found = {str(path.relative_to(newest.path)): path.stat().st_size for path in newest.path.rglob("*") if path.is_file()}
        assert FILES.items() <= found.items()


def finished_before_the_kill(folder: Path, *, after_s: float) -> int:
    """The last step that the killed process said it had saved."""
    program = [sys.executable, "-c", SAVES_FOR_EVER, folder, *sys.path, Path(__file__).parent]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as saver:
        assert saver.stdout is not None
        told = [saver.stdout.readline(), saver.stdout.readline()]
        time.sleep(after_s)
        saver.kill()
        return int((told + saver.stdout.readlines())[-1])

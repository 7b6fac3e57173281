"""A trial's checkpoints: which of them are whole, how large they are, and whether the disk holds another; touches no weights.

verl writes a checkpoint file by file into `global_step_N` and notes N in a text file; neither says whether all of it is there. A save that
came to its end is sealed: `harness.json` beside its files holds their names and sizes. Without a seal that fits, a checkpoint is torn.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from harness import records
from harness.errors import NoSpaceForCheckpoint, RecordError

SEAL = "harness.json"
TRACKER = "latest_checkpointed_iteration.txt"  # verl's own note of the newest one
SPARE_BYTES = 64 * 2**20  # for the tokenizer, and for the records of everybody else on that disk
_FOLDER = re.compile(r"global_step_(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Seal:
    """Written last: names, below the checkpoint's folder, to bytes."""

    step: int
    files: dict[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """One that is whole."""

    path: Path
    step: int
    bytes: int


def folder_of(checkpoints: Path, step: int) -> Path:
    """Where verl puts it."""
    return checkpoints / f"global_step_{step}"


def complete(checkpoints: Path) -> list[Checkpoint]:
    """Those that are whole, newest first."""
    found: list[Checkpoint] = []
    for step, path in _folders(checkpoints):
        with contextlib.suppress(OSError, RecordError):
            seal = records.read(path / SEAL, Seal)
            if seal.step == step and _fault(path, seal) is None:
                found.append(Checkpoint(path=path, step=step, bytes=sum(seal.files.values())))
    return found


def torn(checkpoints: Path, *, after: int) -> list[str]:
    """Newest first, one clause for each later one than of step `after` that is not whole: `the checkpoint of step 8 was never finished`."""
    whole = {checkpoint.step for checkpoint in complete(checkpoints)}
    there = dict(_folders(checkpoints))
    noted = _noted(checkpoints)
    broken = [(step, _what_ails(path)) for step, path in there.items() if step > after and step not in whole]
    if noted is not None and noted > after and noted not in there:
        broken.append((noted, "is missing"))
    return [f"the checkpoint of step {step} {ails}" for step, ails in sorted(broken, reverse=True)]


def size(folder: Path) -> int:
    """Bytes of all files below a folder; 0 where there is none. Of a checkpoint, of all of a trial's, torn ones included."""
    return sum(_files(folder).values())


def prepare(checkpoints: Path, step: int, expected_bytes: int) -> int:
    """Before a save: makes way for its files, and returns how many bytes they will be. Raises NoSpaceForCheckpoint.

    What is there of the same step goes, because its seal would vouch for files that are being written anew. `expected_bytes` is for the
    first checkpoint of a trial; a later one is as large as the one before.
    """
    folder = folder_of(checkpoints, step)
    earlier = next((checkpoint for checkpoint in complete(checkpoints) if checkpoint.step != step), None)
    remove(folder)
    checkpoints.mkdir(parents=True, exist_ok=True)
    wanted = earlier.bytes if earlier is not None else expected_bytes
    refuse_if_full(checkpoints, wanted)
    return wanted


def refuse_if_full(folder: Path, wanted_bytes: int) -> None:
    """Raises NoSpaceForCheckpoint where the folder's disk does not hold so much more."""
    free = shutil.disk_usage(folder).free
    if free < wanted_bytes + SPARE_BYTES:
        raise NoSpaceForCheckpoint(folder, wanted_bytes=wanted_bytes, free_bytes=free)


def seal(checkpoints: Path, step: int) -> Checkpoint:
    """After a save: from now on it counts, and a power failure does not undo it."""
    path = folder_of(checkpoints, step)
    files = {name: size for name, size in _files(path).items() if name != SEAL}
    for name in files:
        _flush(path / name)
    for folder in {(path / name).parent for name in files}:
        _flush(folder)
    records.replace(path / SEAL, Seal(step=step, files=files))
    _flush(path)
    _flush(checkpoints)
    return Checkpoint(path=path, step=step, bytes=sum(files.values()))


def keep_newest(checkpoints: Path, number: int) -> list[int]:
    """Removes all whole ones but so many; the steps of those that went."""
    old = complete(checkpoints)[max(number, 1) :]
    for checkpoint in old:
        remove(checkpoint.path)
    return [checkpoint.step for checkpoint in old]


def remove(checkpoint: Path) -> int:
    """The bytes that it held. Its seal goes first, so that what is left of it when this is interrupted is not taken for a whole one."""
    held = size(checkpoint)
    (checkpoint / SEAL).unlink(missing_ok=True)
    shutil.rmtree(checkpoint, ignore_errors=True)
    return held


def _folders(checkpoints: Path) -> list[tuple[int, Path]]:
    """Every step's folder, newest first."""
    if not checkpoints.is_dir():
        return []
    found = [(int(match[1]), path) for path in checkpoints.iterdir() if (match := _FOLDER.fullmatch(path.name)) and path.is_dir()]
    return sorted(found, reverse=True)


def _files(folder: Path) -> dict[str, int]:
    """Name -> bytes of what lies below it, in order."""
    found = {}
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root) / name
            with contextlib.suppress(FileNotFoundError):  # it is being removed
                found[str(path.relative_to(folder))] = path.stat().st_size
    return dict(sorted(found.items()))


def _fault(path: Path, seal: Seal) -> str | None:
    """The first file that is not as it was when the checkpoint was sealed."""
    for name, wanted in seal.files.items():
        try:
            found = (path / name).stat().st_size
        except OSError:
            return f"lacks {name}"
        if found != wanted:
            return f"is torn ({name} has {found} bytes of {wanted})"
    return None if seal.files else "is empty"


def _what_ails(path: Path) -> str:
    try:
        sealed = records.read(path / SEAL, Seal)
    except FileNotFoundError:
        return "was never finished"
    except (OSError, RecordError):
        return f"has a {SEAL} that cannot be read"
    return _fault(path, sealed) or f"carries the seal of step {sealed.step}"


def _noted(checkpoints: Path) -> int | None:
    """What verl's own note says; it is not written at once, so it may say nothing."""
    try:
        return int((checkpoints / TRACKER).read_text())
    except (OSError, ValueError):
        return None


def _flush(path: Path) -> None:
    """To the disk; some file systems cannot flush a folder."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

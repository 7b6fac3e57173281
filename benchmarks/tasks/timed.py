"""What every peer's trial does: sleeps, notes when it began and ended, and returns one number. Standard library only."""

import os
import time
from collections.abc import Sequence

_LINE = 32  # bytes, so that the place of a line in the file is the trial's number


def bowl(x: float, y: float, *, seconds: Sequence[float]) -> float:
    """Sleeps for the first or the second of `seconds`, by turns."""
    number = _note("began")
    if any(seconds):
        time.sleep(seconds[number % 2])
    value = (x - 1) ** 2 + (y + 2) ** 2
    _note("ended")
    return value


def _note(what: str) -> int:
    """How many trials did the same before."""
    file = os.open(f"{os.environ['BENCH_FOLDER']}/{what}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{time.monotonic()!r:<{_LINE - 1}}\n".encode())
    place = os.lseek(file, 0, os.SEEK_CUR)  # behind this line, whoever else writes
    os.close(file)
    return place // _LINE - 1

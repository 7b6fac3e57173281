"""What an engine uses is counted over its whole tree, and more than it may gain is a reason to replace it."""

from __future__ import annotations

import os
import subprocess
import sys

import commands
import pytest

from harness.inside.upkeep import LEAST_GROWTH_MIB, Footprint, fault, footprint
from harness.processes import COOKIE

FIRST = Footprint(processes=20, memory_mib=5000)


@pytest.mark.parametrize(
    ("processes", "memory_mib", "growth", "words"),
    [
        (20, 5000, 1.0, None),
        (24, 9999, 1.0, None),
        (20, 10_001, 1.0, "10001 MiB, 5000 after its first attempt, and may gain 5000"),
        (20, 5000 + LEAST_GROWTH_MIB, 0.0, None),
        (20, 5001 + LEAST_GROWTH_MIB, 0.0, "may gain 2048"),
        (25, 5000, 1.0, "25 processes, 20 after its first attempt"),
        (3, 100, 1.0, None),
    ],
)
def test_more_than_an_engine_may_gain_is_a_fault(processes: int, memory_mib: int, growth: float, words: str | None) -> None:
    found = fault(FIRST, Footprint(processes=processes, memory_mib=memory_mib), growth=growth)
    assert (found is None) if words is None else (words in str(found))


def test_a_footprint_is_of_all_that_carries_the_engines_name() -> None:
    code = "print(1, flush=True); held = bytearray(b'x') * (64 << 20); print(len(held), flush=True); input()"
    before = footprint("upkeep-test")
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, COOKIE: "upkeep-test"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert child.stdout is not None
        assert [child.stdout.readline(), child.stdout.readline()] == [b"1\n", b"67108864\n"]
        now = footprint("upkeep-test")
        assert now.processes == before.processes + 1
        assert now.memory_mib >= before.memory_mib + 60
    finally:
        child.communicate(b"\n", timeout=commands.TIMEOUT_S)

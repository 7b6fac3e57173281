"""Fifty attempts in one engine: nothing grows, nothing slows down, and the last is still the first."""

from __future__ import annotations

import importlib.util
import statistics

import pytest
from verl_rig import Rig, make_assets

from harness import records

pytestmark = [
    pytest.mark.verl,
    pytest.mark.slow,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(importlib.util.find_spec("verl") is None, reason="needs the cpu extra"),
]

ATTEMPTS = 50
COMMON = ("batch_size=8", "steps=2", "trainer.val_before_train=false")
POINTS = [(f"lr={lr}", f"kl_coef={kl}", f"rollout_n={n}") for n in (2, 4) for kl in (1e-3, 1e-2) for lr in (1e-4, 1e-3)]
SETTLED = 3  # attempts after which everything has been used once
# What each may gain from then on: a heap is not given back to the byte, and Ray adds a thread or a socket for a new peer.
MAY_GAIN = {"private": 400, "shared": 64, "threads": 12, "descriptors": 24, "shm_files": 0}


def test_fifty_attempts_leave_an_engine_as_three_do(tmp_path):
    rig = Rig(tmp_path, make_assets(tmp_path / "assets"), serves=ATTEMPTS + 1)
    attempts, used = [], []
    for number in range(ATTEMPTS):
        attempts.append(rig.train(*COMMON, *POINTS[number % len(POINTS)]))
        used.append(rig.usage())
    assert rig.leave() == 0
    for number in range(0, ATTEMPTS, 7):
        print(f"after attempt {number + 1}: {used[number]}")
    print(f"after attempt {ATTEMPTS}: {used[-1]}")
    for name, allowed in MAY_GAIN.items():
        assert max(use[name] for use in used[-5:]) - max(use[name] for use in used[SETTLED : SETTLED + len(POINTS)]) <= allowed, name

    hand_overs = [sum(attempt.event("handed_over").data["phases"].values()) for attempt in attempts]
    early, late = statistics.median(hand_overs[1:11]), statistics.median(hand_overs[-10:])
    print(f"hand-over: median of attempts 2 to 11 {early:.3f} s, of the last ten {late:.3f} s")
    assert late < 1.5 * early + 0.1

    last_of_first_point = ATTEMPTS - 1 - (ATTEMPTS - 1) % len(POINTS)
    assert attempts[last_of_first_point].equals(attempts[0])
    assert attempts[len(POINTS)].equals(attempts[0])
    settled = [event.data["seconds"] for event in records.events(rig.paths.events) if event.name == "settled"]
    print(f"checks after an attempt: median {statistics.median(settled):.3f} s, worst {max(settled):.3f} s")

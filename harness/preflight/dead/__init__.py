"""Names the knobs that the chosen config makes verl ignore: a sweep over one would measure noise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from harness.preflight.dead.entry import Dead
from harness.preflight.dead.learning import LEARNING
from harness.preflight.dead.loss import of_the_loss
from harness.preflight.dead.running import RUNNING
from harness.preflight.finding import Finding, refused, warned
from harness.preflight.view import Absent, View


def dead_knobs(config: Mapping[str, Any], keys: Iterable[str]) -> tuple[Finding, ...]:
    """For each key that the config makes verl ignore, the reason and the cure; at most one finding a key, in the keys' order."""
    view = View(config)
    findings = (_first(view, key.lstrip("+")) for key in keys)
    return tuple(finding for finding in findings if finding is not None)


def _first(view: View, key: str) -> Finding | None:
    for dead in (*LEARNING, *RUNNING, *of_the_loss(key)):
        finding = _of(dead, view, key) if dead.covers(key) else None
        if finding is not None:
            return finding
    return None


def _of(dead: Dead, view: View, key: str) -> Finding | None:
    try:
        reason = dead.why(view)
    except Absent:
        return None
    if reason is None:
        return None
    if dead.limited:
        return warned(key, f"has little effect: {reason[0]}", cure=reason[1])
    return refused(key, f"has no effect: {reason[0]}", cure=reason[1])

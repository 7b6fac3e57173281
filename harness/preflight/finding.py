"""What the preflight has to say about one key: what is wrong, where, and the cure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    REFUSE = "refuse"  # verl would refuse it, minutes later perhaps, or train something else in silence
    WARN = "warn"  # it runs, and does less or other than it seems to


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One sentence about one key; `nearest` is the closest legal value of that key, None where there is none to name."""

    key: str
    message: str
    nearest: object | None
    severity: Severity


def refused(key: str, what: str, *, nearest: object | None = None, cure: str = "") -> Finding:
    return Finding(key=key, message=_sentence(key, what, nearest, cure), nearest=nearest, severity=Severity.REFUSE)


def warned(key: str, what: str, *, nearest: object | None = None, cure: str = "") -> Finding:
    return Finding(key=key, message=_sentence(key, what, nearest, cure), nearest=nearest, severity=Severity.WARN)


def _sentence(key: str, what: str, nearest: object | None, cure: str) -> str:
    parts = [f"{key}: {what}"]
    if nearest is not None:
        parts.append(f"nearest legal value: {key}={nearest}")
    if cure:
        parts.append(cure)
    return "; ".join(parts)

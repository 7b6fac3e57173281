"""One entry of the table of dead knobs: keys, and the reason and the cure where a config makes verl ignore them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from harness.preflight.view import View

Reason = tuple[str, str]  # why the key is ignored, and the cure
Why = Callable[[View], Reason | None]  # None where the key lives


@dataclass(frozen=True, kw_only=True, slots=True)
class Dead:
    """`limited` keys do something still, though less than they seem to: they are warned about, not refused."""

    keys: tuple[str, ...]  # "a.b" is one key, "a.*" all below it
    why: Why
    limited: bool = False

    def covers(self, key: str) -> bool:
        return any(key == own or (own.endswith(".*") and key.startswith(own[:-1])) for own in self.keys)


def when(dead: Callable[[View], object], reason: str, cure: str) -> Why:
    return lambda view: (reason, cure) if dead(view) else None


def unless(alive: Callable[[View], object], reason: str, cure: str) -> Why:
    return lambda view: None if alive(view) else (reason, cure)


def under(roles: str | Iterable[str], *names: str) -> tuple[str, ...]:
    return tuple(f"{role}.{name}" for role in ([roles] if isinstance(roles, str) else roles) for name in names)

"""The section `guards` of the configuration as typed settings; refuses a guard that would fire on one noisy step, or on none at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from harness.errors import ConfigError
from harness.guards import NO_SIGNAL, NON_FINITE, REWARD_HACKING, SPECIAL
from harness.types import GuardSettings, LevelGuard, NonFiniteGuard, NoSignalGuard, RewardHackingGuard

_KINDS: dict[str, type] = {NO_SIGNAL: NoSignalGuard, REWARD_HACKING: RewardHackingGuard, NON_FINITE: NonFiniteGuard}
_COUNTS = {"grace_steps": 1, "peers": 1, "least_peers": 1, "patience": 2}  # and the least of each
_FACTORS = ("own_factor", "peer_factor")
_SHARES = ("fall", "rise")


def read_guards(node: Mapping[str, Any]) -> GuardSettings:
    """Whatever is a mapping is a guard by the code of its name: one of `SPECIAL`, else over the level of its metric. Raises ConfigError."""
    counts = {name: value for name, value in node.items() if name not in SPECIAL and not isinstance(value, Mapping | None)}
    special = {code: _read(code, _KINDS[code], node[code]) if node[code] is not None else None for code in SPECIAL}
    levels = tuple(_level(code, guard) for code, guard in node.items() if code not in SPECIAL and isinstance(guard, Mapping))
    settings: GuardSettings = _convert("guards", GuardSettings, {**_checked("guards", counts), **special, "levels": levels})
    return settings


def _level(code: str, node: Mapping[str, Any]) -> LevelGuard:
    guard: LevelGuard = _read(code, LevelGuard, {"above": None, "below": None, **node, "code": code})
    if (guard.above is None) == (guard.below is None):
        raise ConfigError(f"guards.{code}: expected a number for above or for below, one of the two")
    return guard


def _read(code: str, kind: type, node: Any) -> Any:
    key = f"guards.{code}"
    if not isinstance(node, Mapping):
        raise ConfigError(f"{key}: expected a guard's settings, or null for none, got {node!r}")
    return _convert(key, kind, _checked(key, node))


def _checked(key: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """The same, once no number in it is too small, or none."""
    for name, value in node.items():
        if name in _COUNTS and (isinstance(value, bool) or not isinstance(value, int) or value < _COUNTS[name]):
            raise ConfigError(f"{key}.{name}: expected a whole number, {_COUNTS[name]} or more, got {value!r}")
        if name in _FACTORS and value is not None and not (isinstance(value, int | float) and value >= 1):
            raise ConfigError(f"{key}.{name}: expected a factor, 1 or more, or null, got {value!r}")
        if name in _SHARES and not (isinstance(value, int | float) and value > 0):
            raise ConfigError(f"{key}.{name}: expected a share above 0, got {value!r}")
        if value != value:  # NaN, beyond which nothing is
            raise ConfigError(f"{key}.{name}: expected a number, got {value!r}")
    return dict(node)


def _convert(key: str, kind: type, fields: Mapping[str, Any]) -> Any:
    known = kind.__dataclass_fields__  # type: ignore[attr-defined]
    unknown = sorted(fields.keys() - known)
    if unknown:
        raise ConfigError(f"{key}.{unknown[0]}: not a setting; there are {', '.join(name for name in known if name != 'code')}")
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        raise ConfigError(f"{key}{where.rstrip('`')}: {what[:1].lower()}{what[1:]}") from error

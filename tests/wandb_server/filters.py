"""Which runs a public API's filter means, and in which order; the part of MongoDB's language that the client's own documentation shows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from wandb_server.store import Run

_MISSING = object()


def select(runs: Iterable[Run], filters: Mapping[str, Any], order: str | None) -> list[Run]:
    """Oldest first unless `order` begins with a minus."""
    found = sorted((run for run in runs if matches(run, filters)), key=lambda run: run.created_at)
    return found[::-1] if (order or "").startswith("-") else found


def matches(run: Run, filters: Mapping[str, Any]) -> bool:
    return all(_holds(run, name, wanted) for name, wanted in filters.items())


def _holds(run: Run, name: str, wanted: Any) -> bool:
    if name == "$and":
        return all(matches(run, one) for one in wanted)
    if name == "$or":
        return any(matches(run, one) for one in wanted)
    value = _value(run, name)
    if not isinstance(wanted, Mapping):
        return bool(wanted in value if isinstance(value, list) else value == wanted)
    return all(_compare(value, operator, operand) for operator, operand in wanted.items())


def _compare(value: Any, operator: str, operand: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    match operator:
        case "$eq":
            return bool(operand in values)
        case "$ne":
            return operand not in values
        case "$in":
            return any(one in operand for one in values)
        case "$nin":
            return not any(one in operand for one in values)
        case "$regex":
            return any(re.search(operand, str(one)) is not None for one in values)
        case "$exists":
            return bool(operand) == (value is not _MISSING)
    raise ValueError(f"the test server knows no filter {operator}")


def _value(run: Run, name: str) -> Any:
    kind, _, key = name.partition(".")
    if kind == "config":
        return run.settings.get(key.removesuffix(".value"), _MISSING)
    if kind in ("summary_metrics", "summary"):
        return run.summary.get(key, _MISSING)
    plain = {"name": run.name, "displayName": run.display_name, "display_name": run.display_name, "group": run.group, "state": run.state}
    return {**plain, "jobType": run.job_type, "job_type": run.job_type, "tags": run.tags, "sweep": run.sweep}.get(name, _MISSING)

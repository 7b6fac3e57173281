"""A study and its trials as strict JSON: what is not a finite number becomes null."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from harness.against import Against, against_default
from harness.result import CONFIDENCE, Result
from harness.status import StudyStatus
from harness.trial_status import TrialStatus


def study_fields(status: StudyStatus) -> dict[str, Any]:
    """`objective` is the first one, `objectives` are all."""
    record = status.record
    objectives = [
        {"metric": o.metric, "direction": str(o.direction), "reduction": str(o.reduction), "window": o.window} for o in record.objectives
    ]
    best, result = status.best, status.result()
    against = against_default(status, result)
    return {
        "name": record.name,
        "objective": objectives[0],
        "objectives": objectives,
        "n_trials": record.n_trials,
        "plan": record.plan,
        "full_runs": status.full_runs,
        "counts": {str(state): count for state, count in status.counts.items()},
        "best": None if best is None else trial_fields(best),
        "result": None if result is None else result_fields(result),
        "defaults": record.defaults,
        "against_default": None if against is None else against_fields(against),
        "pareto": list(status.pareto),
        "path": str(status.paths.root),
        "created_at": record.created_at,
        "controller_alive": status.controller_alive,
        "ended": status.ended,
        "elapsed_s": status.elapsed_s,
        "startup_share": status.startup_share,
    }


def result_fields(result: Result) -> dict[str, Any]:
    """The best configuration and its rivals, `mean` plus or minus `half_width`; docs/result.md has the rules."""
    return {
        "confidence": CONFIDENCE,
        "best": asdict(result.best),
        "ties": list(result.ties),
        "configurations": [asdict(one) for one in result.estimates],
    }


def against_fields(against: Against) -> dict[str, Any]:
    """How much better than the default the best configuration is, plus or minus `half_width`: for all contenders at once."""
    return {"confidence": CONFIDENCE, "default": asdict(against.default), **asdict(against.gain)}


def trial_fields(trial: TrialStatus) -> dict[str, Any]:
    """`value` is the first of `values`."""
    return {
        "number": trial.number,
        "state": str(trial.state),
        "reason": None if trial.reason is None else str(trial.reason),
        "message": trial.message,
        "params": trial.params,
        "value": trial.values[0] if trial.values else None,
        "values": None if trial.values is None else list(trial.values),
        "steps": trial.steps,
        "attempts": trial.attempts,
        "restores": trial.restores,
        "seconds": trial.seconds,
        "startup_s": trial.startup_s,
        "warm": trial.warm,
        "slot": trial.slot,
        "gpu_seconds": trial.gpu_seconds,
        "phases": trial.phases,
        "gpu": None if trial.gpu is None else asdict(trial.gpu),
        "seed": trial.seed,
        "role": str(trial.role),
        "configuration": trial.configuration,
    }


def to_json(fields: object) -> str:
    return json.dumps(_finite(fields), indent=2, ensure_ascii=False, allow_nan=False)


def _finite(fields: object) -> object:
    if isinstance(fields, float):
        return fields if math.isfinite(fields) else None
    if isinstance(fields, dict):
        return {key: _finite(value) for key, value in fields.items()}
    if isinstance(fields, list | tuple):
        return [_finite(value) for value in fields]
    return fields

"""The tables of a report as CSV: everything, with values to be computed with rather than read; pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.report.facts import Configuration, Facts
from harness.trial_status import TrialStatus
from harness.types import Params
from harness.wording import definition, exact

_FORMULA = ("=", "+", "@", "\t")


def sheets(facts: Facts) -> dict[str, str]:
    """By name: every trial, every configuration."""
    of_trial = {trial.number: one.name for one in facts.configurations for trial in one.trials}
    return {
        "trials": _csv([_trial(facts, trial, of_trial[trial.number]) for trial in facts.status.trials]),
        "configurations": _csv([_configuration(facts, one) for one in facts.configurations]),
    }


def _trial(facts: Facts, trial: TrialStatus, configuration: str) -> dict[str, Any]:
    objectives = facts.status.record.objectives
    values = trial.values or [None] * len(objectives)
    return {
        "trial": trial.number,
        "state": trial.state,
        "reason": trial.reason,
        "configuration": configuration,
        "seed": trial.seed,
        "role": trial.role,
        **_knobs(facts, trial.params),
        **{definition(objective): value for objective, value in zip(objectives, values, strict=False)},
        "steps": trial.steps,
        "seconds": trial.seconds,
        "startup_s": trial.startup_s,
        "gpu_seconds": trial.gpu_seconds,
        "slot": trial.slot,
        "message": trial.message,
    }


def _configuration(facts: Facts, one: Configuration) -> dict[str, Any]:
    return {
        "configuration": one.name,
        "standing": one.standing,
        "trials": " ".join(str(trial.number) for trial in one.trials),
        **_knobs(facts, one.params),
        "seeds": len(one.values),
        "level": one.level,
        "mean": one.estimate.mean if one.estimate else None,
        "half_width": one.estimate.half_width if one.estimate else None,
        "forecast_low": one.forecast.low if one.forecast else None,
        "forecast_high": one.forecast.high if one.forecast else None,
    }


def _knobs(facts: Facts, params: Params) -> dict[str, str | None]:
    return {knob: exact(params[knob]) if knob in params else None for knob in facts.names}


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """A cell that a spreadsheet would take for a formula begins with an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(rows[0] if rows else ())
    for row in rows:
        writer.writerow([f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell for cell in row.values()])
    return text.getvalue()

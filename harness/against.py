"""A study's best configuration against its default, the point that its knobs replace; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness import comparison
from harness.comparison import Difference
from harness.digest import numbers
from harness.domains import domain_of
from harness.result import CONFIDENCE, Estimate, Result, values_of
from harness.status import StudyStatus
from harness.trial_status import TrialStatus
from harness.types import Direction, StudyRecord
from harness.wording import cause, interval, knob_line, share, short_names

KEY = "study.default_trial=true"  # makes it a trial
_SEED = "seed"  # which makes no other configuration


@dataclass(frozen=True, kw_only=True, slots=True)
class Against:
    """The best configuration is not the default, and both have values."""

    default: Estimate
    gain: Difference  # of the best one's mean; above 0 it is better, whatever the direction


def default_trials(status: StudyStatus) -> tuple[TrialStatus, ...]:
    """Those at the default, whoever proposed it."""
    wanted = _point(status.record.defaults)
    return tuple(trial for trial in status.trials if _point(trial.params) == wanted) if has_default(status.record) else ()


def has_default(record: StudyRecord) -> bool:
    """Whether each knob replaces something, as far as the record tells."""
    return bool(record.knobs) and all(knob in record.defaults for knob in record.knobs)


def against_default(status: StudyStatus, result: Result | None) -> Against | None:
    """By Dunnett's comparison of all contenders with the default: `harness.comparison.from_control`."""
    default = _estimate(status, result)
    if result is None or default is None or default is result.best:
        return None
    sign = 1 if status.record.objectives[0].direction is Direction.MAXIMIZE else -1
    trials = {trial.number: trial for trial in status.trials}
    rivals = [one for one in result.estimates if one.contends and one is not default]  # the best one first
    control, *samples = [{seed: sign * value for seed, value in values_of(trials, one).items()} for one in (default, *rivals)]
    return Against(default=default, gain=comparison.from_control(control, samples, confidence=CONFIDENCE)[0])


def sentence(status: StudyStatus, result: Result | None) -> str:
    """How much better the best is than the default, or why nobody knows; empty where there is no such question."""
    if result is None or not has_default(status.record):
        return ""
    trials = default_trials(status)
    point = knob_line(status.record.defaults, short_names(status.record.knobs))
    if not trials:
        domains = {knob: domain_of(text) for knob, text in status.record.space.items()}
        outside = [knob for knob, value in status.record.defaults.items() if (domain := domains.get(knob)) and not domain.holds(value)]
        if outside:
            return f"The default ({point}) was not run: a trial of it needs a wider range of {', '.join(outside)}, and {KEY}."
        return f"The default ({point}) was not run: {KEY} makes it a trial."
    who = f"trial{'s' * (len(trials) > 1)} {numbers([trial.number for trial in trials])}: {point}"
    found = against_default(status, result)
    if found is not None:
        return _gain(found, result.best, who)
    if _estimate(status, result) is not None:
        return f"The best is the default itself ({who}): nothing else that was tried is known to be better."
    return f"The default ({who}) has no value to compare with: it is {cause(trials[0].state, trials[0].reason)}."


def _gain(found: Against, best: Estimate, who: str) -> str:
    gain, default = found.gain, found.default
    words = f"{'Better' if gain.mean >= 0 else 'Worse'} than the default ({who}) by {interval(abs(gain.mean), gain.half_width)}"
    if gain.half_width is None:
        return f"{words}; with one seed each nothing tells whether that is luck."
    many = len(best.seeds)
    seeds = f"by the same {many} seeds" if best.seeds == default.seeds else f"by {many} seed{'s' * (many > 1)} against {len(default.seeds)}"
    luck = "" if abs(gain.mean) > gain.half_width else ", so that it may be luck"
    return f"{words}, {seeds} ({share(CONFIDENCE)} interval, for all contenders at once){luck}."


def _estimate(status: StudyStatus, result: Result | None) -> Estimate | None:
    names = {trial.configuration or f"trial {trial.number}" for trial in default_trials(status)}
    return next((one for one in result.estimates if one.configuration in names), None) if result is not None else None


def _point(params: Mapping[str, Any]) -> dict[str, Any]:
    return {knob: value for knob, value in params.items() if knob != _SEED}

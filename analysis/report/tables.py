"""The tables of a report as plain rows: configurations with their statistics, trials, cost; pure but for the links of trials."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.report.bill import Bill, hours
from analysis.report.facts import Configuration, Facts, Standing
from analysis.report.links import Links, links
from analysis.report.statistics import bootstrap, interquartile_mean, probability_of_improvement
from harness.answer import estimate, ranked
from harness.digest import latest_and_best, untold
from harness.result import CONFIDENCE
from harness.trial_status import TrialStatus
from harness.types import TrialState
from harness.wording import aligned, cause, compact, duration

CONFIGURATIONS = 60  # rows
TRIALS = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfigurationRow:
    """Numbers as text, empty where there is none."""

    standing: Standing
    trials: tuple[int, ...]
    knobs: tuple[str, ...]
    seeds: str
    mean: str  # with half its interval, as it is decided by
    interquartile: str
    bootstrap: str
    better: str  # probability that a seed of the best one is better than a seed of this one
    hours: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRow:
    number: int
    value: str
    state: TrialState
    cause: str
    standing: Standing
    knobs: tuple[str, ...]
    seed: str
    role: str
    steps: str
    seconds: str
    startup: str
    message: str
    links: Links


def configuration_rows(facts: Facts, cost: Bill) -> tuple[ConfigurationRow, ...]:
    """Those with a value, the best first."""
    known = [one for one in facts.configurations if one.level is not None][:CONFIGURATIONS]
    intervals = bootstrap({one.name: one.values for one in known if len(one.values) > 1}, confidence=CONFIDENCE)
    rows = []
    for one in known:
        interval = intervals.get(one.name)
        low, high = aligned([interval.low, interval.high]) if interval else ("", "")
        rows.append(
            ConfigurationRow(
                standing=one.standing,
                trials=tuple(trial.number for trial in one.trials),
                knobs=knob_words(facts, one.params),
                seeds=str(len(one.values)) if one.values else "",
                mean=_mean(one),
                interquartile=f"{interquartile_mean(list(one.values.values())):.4g}" if len(one.values) > 1 else "",
                bootstrap=f"{low} to {high}" if interval else "",
                better=_better(facts, one),
                hours=f"{hours(one.trials, cost.unit):.3g}",
            )
        )
    return tuple(rows)


def trial_rows(facts: Facts) -> tuple[TrialRow, ...]:
    """The best ones, as they are ranked everywhere."""
    standing = {trial.number: one.standing for one in facts.configurations for trial in one.trials}
    shown = ranked(facts.status, facts.result)[:TRIALS]
    values = aligned([latest_and_best(trial, facts.status.record.objectives[0])[0] for trial in shown])
    return tuple(_trial_row(facts, trial, value, standing[trial.number]) for trial, value in zip(shown, values, strict=True))


def knob_words(facts: Facts, params: dict[str, object]) -> tuple[str, ...]:
    """In the order of the study's knobs."""
    return tuple(compact(params[knob]) if knob in params else "" for knob in facts.names)


def _trial_row(facts: Facts, trial: TrialStatus, value: str, standing: Standing) -> TrialRow:
    return TrialRow(
        number=trial.number,
        value=value,
        state=trial.state,
        cause=cause(trial.state, trial.reason),
        standing=standing,
        knobs=knob_words(facts, trial.params),
        seed="" if trial.seed is None else str(trial.seed),
        role=str(trial.role),
        steps=f"{trial.steps}/{trial.total_steps}" if trial.total_steps else str(trial.steps),
        seconds=duration(trial.seconds),
        startup=duration(trial.startup_s),
        message=untold(trial),
        links=links(facts.status, trial),
    )


def _mean(one: Configuration) -> str:
    if one.forecast is not None:
        return f"{one.forecast.value:.3g} ({one.forecast.low:.3g} to {one.forecast.high:.3g})"
    if one.estimate is not None and len(one.values) > 1:
        return estimate(one.estimate)
    if one.values:
        return f"{one.level:.6g}"
    return "" if one.reached is None else f"({one.reached:.3g})"


def _better(facts: Facts, one: Configuration) -> str:
    best = facts.best
    if best is None or one is best or len(one.values) < 2 or len(best.values) < 2:
        return ""
    higher, lower = ([facts.sign * value for value in of.values.values()] for of in (best, one))
    return f"{probability_of_improvement(higher, lower):.2f}"

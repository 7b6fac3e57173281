"""All that a report is made from: a study's status, what is known of each configuration, and what its trials logged; reads once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import yaml

from analysis.report.series import Series, read_series
from analysis.report.spans import Span, read_spans
from harness.comparison import mean
from harness.domains import Domain, domains
from harness.forecast import Forecast, Whole, forecast
from harness.paths import StudyPaths
from harness.result import CONFIDENCE, Estimate, Result, is_candidate
from harness.status import StudyStatus
from harness.trial_status import TrialStatus, read_quietly
from harness.types import Direction, GuardRecord, GuardVerdict, TrialState
from harness.wording import short_names

CURVES = 120  # configurations whose curves are drawn
READ = 200  # trials whose metric files are read
FORECASTS = 1000  # stopped configurations whose end is forecast: those that came furthest
_REPORTS = 6000  # of complete trials, that each forecast leans on
_LEAST_WHOLES = 16  # of more, so that it leans on several
FEW_WHOLES = 8  # with fewer complete trials nothing is forecast: docs/pruning.md has the width of such intervals
_BATCH = ("batch_size", "data.train_batch_size")


class Standing(StrEnum):
    """Of a configuration in the study's result."""

    BEST = "best"
    TIED = "cannot be told from the best"
    FRONT = "on the front: none beats it in all objectives"
    BEHIND = "behind"
    STOPPED = "stopped early, or running"
    OPEN = "no value yet"


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """A point without its seed, and what is known of it."""

    name: str
    params: dict[str, Any]
    trials: tuple[TrialStatus, ...]
    values: dict[int, float]  # by seed, of COMPLETE trials
    standing: Standing
    estimate: Estimate | None
    forecast: Forecast | None  # where no trial came to its end and enough others tell how it would have gone on
    reached: float | None  # likewise: what the one that came furthest logged last, which did not fail

    @property
    def level(self) -> float | None:
        """The mean over its seeds, else the forecast of its end, else what it logged last."""
        if self.values:
            return mean(list(self.values.values()))
        return self.forecast.value if self.forecast else self.reached

    @property
    def first(self) -> int:
        return self.trials[0].number


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Of one study at one moment."""

    status: StudyStatus
    result: Result | None
    configurations: tuple[Configuration, ...]  # the best first
    domains: dict[str, Domain]
    names: dict[str, str]  # knob -> the short name that is shown
    series: dict[int, Series]  # of the trials that were read
    spans: tuple[Span, ...]
    guards: tuple[tuple[int, GuardVerdict], ...]  # trial, and what fired there
    batch: int | None  # prompts of a step, where all configurations have the same

    @property
    def sign(self) -> int:
        return 1 if self.status.record.objectives[0].direction is Direction.MAXIMIZE else -1

    @property
    def best(self) -> Configuration | None:
        return next((one for one in self.configurations if one.standing is Standing.BEST), None)

    def batch_of(self, one: Configuration) -> int | None:
        """Prompts that a step of it trains on."""
        own = next((one.params[key] for key in _BATCH if isinstance(one.params.get(key), int)), None)
        return own if own is not None else self.batch


def read_facts(status: StudyStatus) -> Facts:
    """Reads beside the status the metrics, events and guards of trials, within the bounds above."""
    result = status.result()
    configurations = _configurations(status, result)
    read = [trial for one in configurations for trial in one.trials if trial.attempts][:READ]
    return Facts(
        status=status,
        result=result,
        configurations=configurations,
        domains=domains(status.record.space, status.record.knobs, [trial.params for trial in status.trials]),
        names=short_names(status.record.knobs),
        series={trial.number: read_series(status.paths.trial(trial.number)) for trial in read},
        spans=read_spans(status),
        guards=tuple(_guards(status)),
        batch=_batch(status.paths, read),
    )


def _configurations(status: StudyStatus, result: Result | None) -> tuple[Configuration, ...]:
    groups: dict[str, list[TrialStatus]] = {}
    for trial in status.trials:
        groups.setdefault(trial.configuration or f"trial {trial.number}", []).append(trial)
    estimates = {one.configuration: one for one in result.estimates} if result else {}
    furthest = _furthest(groups)
    expected = _forecasts(status, furthest)
    found = [
        Configuration(
            name=name,
            params=trials[0].params,
            trials=tuple(trials),
            values=_by_seed(trials),
            standing=_standing(name, trials, status, result),
            estimate=estimates.get(name),
            forecast=expected.get(name),
            reached=_last(furthest[name]) if name in furthest else None,
        )
        for name, trials in groups.items()
    ]
    places = {name: place for place, name in enumerate(estimates)}
    sign = 1 if status.record.objectives[0].direction is Direction.MAXIMIZE else -1

    def place(one: Configuration) -> tuple[bool, int, bool, float, int]:
        loss = math.inf if one.level is None else -sign * one.level
        return one.standing is not Standing.BEST, places.get(one.name, len(places)), not one.values, loss, one.first

    return tuple(sorted(found, key=place))


def _by_seed(trials: Sequence[TrialStatus]) -> dict[int, float]:
    """As `harness.result` counts them: a seed once."""
    values: dict[int, list[float]] = {}
    for trial in trials:
        if is_candidate(trial) and trial.values:
            values.setdefault(trial.seed or 0, []).append(trial.values[0])
    return {seed: mean(of_seed) for seed, of_seed in values.items()}


def _standing(name: str, trials: Sequence[TrialStatus], status: StudyStatus, result: Result | None) -> Standing:
    if not any(is_candidate(trial) for trial in trials):
        return Standing.STOPPED if any(_goes_on(trial) for trial in trials) else Standing.OPEN
    if result.best.configuration == name if result else status.best in trials:
        return Standing.BEST
    if any(trial.number in status.pareto for trial in trials):
        return Standing.FRONT
    return Standing.TIED if result is not None and name in result.ties else Standing.BEHIND


def _goes_on(trial: TrialStatus) -> bool:
    """Whether it would have come to an end with a value, or may: one that failed does not."""
    return trial.state is not TrialState.FAIL and bool(_reports(trial))


def _furthest(groups: Mapping[str, Sequence[TrialStatus]]) -> dict[str, TrialStatus]:
    """Of the configurations without a complete trial the one that came furthest."""
    return {
        name: max(alive, key=lambda trial: trial.steps)
        for name, trials in groups.items()
        if not any(is_candidate(trial) for trial in trials) and (alive := [trial for trial in trials if _goes_on(trial)])
    }


def _forecasts(status: StudyStatus, furthest: Mapping[str, TrialStatus]) -> dict[str, Forecast]:
    wholes = [
        Whole(reports=reports, value=trial.values[0])
        for trial in status.trials
        if is_candidate(trial) and trial.values and (reports := _reports(trial))
    ]
    if len(wholes) < FEW_WHOLES:
        return {}
    most = max(_LEAST_WHOLES, _REPORTS // max(len(whole.reports) for whole in wholes))
    wholes = wholes[:: -(-len(wholes) // most)]
    chosen = sorted(furthest.items(), key=lambda item: -item[1].steps)[:FORECASTS]
    found = {name: forecast(_reports(trial), wholes, coverage=CONFIDENCE) for name, trial in chosen}
    return {name: one for name, one in found.items() if one is not None}


def _reports(trial: TrialStatus) -> Mapping[int, float]:
    return {step: value for step, value in trial.curve if math.isfinite(value)}


def _last(trial: TrialStatus) -> float | None:
    reports = _reports(trial)
    return reports[max(reports)] if reports else None


def _guards(status: StudyStatus) -> list[tuple[int, GuardVerdict]]:
    found = []
    for trial in status.trials:
        for number in range(trial.attempts):
            record = read_quietly(status.paths.trial(trial.number).attempt(number).guard, GuardRecord)
            found += [(trial.number, verdict) for verdict in record.verdicts] if record else []
    return found


def _batch(study: StudyPaths, trials: Sequence[TrialStatus]) -> int | None:
    """From one attempt's own configuration: a tree of a thousand lines, so that it is read once."""
    for trial in trials[:1]:
        try:
            text = study.trial(trial.number).attempt(0).spec.read_bytes()
            size = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["config"]["data"]["train_batch_size"]  # noqa: S506 (safe)
            return size if isinstance(size, int) else None
        except (OSError, yaml.YAMLError, KeyError, TypeError):
            return None
    return None

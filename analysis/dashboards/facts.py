"""What a study's pages at W&B are made from, read off its records; decides what is shown, and knows nothing of W&B's own format."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from analysis.report.markdown import findings
from harness import identity
from harness.command import study_key
from harness.domains import Range, domain_of
from harness.metrics import MetricReader
from harness.objective import matches_pattern
from harness.paths import AttemptPaths, StudyPaths
from harness.status import StudyStatus
from harness.trial_status import read_quietly
from harness.types import AttemptSpec, Direction, Objective, StudyRecord

# In the order in which one looks for what has gone wrong.
HEALTH = (
    "actor/kl_loss",
    "actor/ppo_kl",
    "actor/entropy",
    "response_length/mean",
    "response_length/clip_ratio",
    "actor/grad_norm",
    "critic/score/mean",
    "critic/vf_loss",
    "perf/throughput",
)
_ROWS = 50  # of the ranking: the table of runs has them all
_ATTEMPTS = 8  # that are asked which metrics there are: the same ones in all, but for those that died early


@dataclass(frozen=True, kw_only=True, slots=True)
class Knob:
    """One axis of the space."""

    name: str
    log: bool  # it was sampled on a logarithmic scale, and is shown on one

    @property
    def key(self) -> str:
        """Among the flat keys of a run's configuration."""
        return identity.flat(self.name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """An objective as W&B can plot it."""

    objective: Objective
    names: tuple[str, ...]  # of the metrics that match it, or none while nothing was logged


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """All that the two pages depend on."""

    study: str
    key: str  # names the study among all that ever had its name
    entity: str | None
    project: str
    measures: tuple[Measure, ...]
    knobs: tuple[Knob, ...]
    health: tuple[str, ...]
    text: str  # Markdown: the answer, with its intervals

    @property
    def target(self) -> str:
        """The one metric that importance and scatter plots are drawn for."""
        first = self.measures[0]
        return first.names[0] if first.names else first.objective.metric

    @property
    def minimizes(self) -> bool:
        return self.measures[0].objective.direction is Direction.MINIMIZE


def facts_of(status: StudyStatus, *, entity: str | None = None) -> Facts:
    """`entity`: where the pages are to be; None: where the trials' runs go, as far as the records or WANDB_ENTITY say."""
    record, spec = status.record, _any_spec(status.paths)
    seen = metrics_seen(status.paths)
    recorded = spec.environment.get("WANDB_ENTITY") if spec is not None else None
    return Facts(
        study=record.name,
        key=study_key(record.name, record.created_at),
        entity=entity or recorded or os.environ.get("WANDB_ENTITY") or None,
        project=spec.config["trainer"]["project_name"] if spec is not None else record.name,
        measures=tuple(Measure(objective=objective, names=_matching(seen, objective)) for objective in record.objectives),
        knobs=_knobs(record),
        health=tuple(name for name in HEALTH if name in seen or not seen),
        text=findings(status, at_most=_ROWS),
    )


def metrics_seen(study: StudyPaths) -> frozenset[str]:
    """Names that the first trials logged."""
    seen: set[str] = set()
    for attempt in _first(study):
        for point in MetricReader(attempt.metrics).new_points():
            seen.update(point.values)
    return frozenset(seen)


def _first(study: StudyPaths) -> Sequence[AttemptPaths]:
    logged = (attempt for trial in study.trials() for attempt in trial.attempts() if attempt.metrics.exists())
    return [attempt for attempt, _ in zip(logged, range(_ATTEMPTS), strict=False)]


def _any_spec(study: StudyPaths) -> AttemptSpec | None:
    specs = (read_quietly(attempt.spec, AttemptSpec) for trial in study.trials() for attempt in trial.attempts())
    return next((spec for spec in specs if spec is not None), None)


def _matching(names: Iterable[str], objective: Objective) -> tuple[str, ...]:
    return tuple(sorted(name for name in names if matches_pattern(name, objective.metric)))


def _knobs(record: StudyRecord) -> tuple[Knob, ...]:
    """Each with whether it was sampled on a logarithmic scale."""
    domains = {name: domain_of(record.space.get(name, "")) for name in record.knobs}
    return tuple(Knob(name=name, log=isinstance(domain, Range) and domain.log) for name, domain in domains.items())

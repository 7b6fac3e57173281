"""Two studies side by side: whose best configuration is better, by how much, how surely, and what else was different.

A difference between studies is one between everything that changed from one to the other, so that all of it is listed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from harness import comparison
from harness.answer import estimate
from harness.domains import domains
from harness.dunnett import one_sided_point
from harness.paths import StudyPaths
from harness.result import CONFIDENCE, Estimate, is_candidate, values_of
from harness.status import StudyStatus
from harness.types import Direction, Objective
from harness.wording import compact, definition, duration, share

LEAST_SHARED = 3  # seeds, with fewer of which the pairing costs more than it brings
_CONFIG = ("actor_rollout_ref.model.path", "data.train_files", "data.val_files", "data.train_batch_size", "trainer.total_training_steps")


@dataclass(frozen=True, kw_only=True, slots=True)
class Gain:
    """How much better the second study's best configuration is; positive is better, whatever the direction."""

    mean: float
    half_width: float | None  # of the interval around it; None where neither study has a configuration with two seeds
    shared_seeds: int  # at which the two are compared in pairs; 0: they are not, and the interval is Welch's


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Something that is not the same in both; `-` where one has none."""

    what: str
    first: str
    second: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Shared:
    """A point that both studies tried, with its mean and its seeds in each."""

    params: dict[str, Any]
    first: tuple[float, int]
    second: tuple[float, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    names: tuple[str, str]
    objectives: tuple[Objective, Objective]
    best: tuple[Estimate | None, Estimate | None]
    points: tuple[dict[str, Any], dict[str, Any]]  # of the best configurations
    gain: Gain | None  # None where the objectives differ, or a study has no best configuration
    spent_s: tuple[float, float]  # of all trials
    spaces: tuple[Change, ...]  # knobs and their ranges
    changes: tuple[Change, ...]  # versions, model, data, sampler, pruner, plan
    shared: tuple[Shared, ...]  # the best of the first study first


def compare(first: StudyStatus, second: StudyStatus) -> Comparison:
    one, other = first.result(), second.result()
    best = (one.best if one else None, other.best if other else None)
    objectives = (first.record.objectives[0], second.record.objectives[0])
    same = objectives[0] == objectives[1] and len(first.record.objectives) == len(second.record.objectives) == 1
    return Comparison(
        names=(first.record.name, second.record.name),
        objectives=objectives,
        best=best,
        points=(dict(first.best.params) if first.best else {}, dict(second.best.params) if second.best else {}),
        gain=_gain(first, second) if same and best[0] and best[1] else None,
        spent_s=(_spent(first), _spent(second)),
        spaces=tuple(_changes(_spaces(first), _spaces(second))),
        changes=tuple(_changes(_circumstances(first), _circumstances(second))),
        shared=_shared(first, second) if same else (),
    )


def lines(found: Comparison) -> Iterator[str]:
    """As Markdown, which a terminal shows as well."""
    yield from (f"# {found.names[0]} and {found.names[1]}", "")
    for name, best, point in zip(found.names, found.best, found.points, strict=True):
        knobs = " ".join(f"{knob}={compact(value)}" for knob, value in point.items())
        seeds = f", {len(best.seeds)} seed{'s' * (len(best.seeds) > 1)}" if best else ""
        yield f"- {name}: {estimate(best) if best else 'no best configuration'}{seeds}  {knobs}"
    yield from ("", _verdict(found), "")
    spent = " and ".join(duration(seconds) for seconds in found.spent_s)
    yield from (f"Trials took {spent}.", "")
    yield from _table("Knobs", found.names, found.spaces)
    yield from _table("Changed", found.names, found.changes)
    if found.shared:
        rows = [
            Change(
                what=" ".join(f"{knob}={compact(value)}" for knob, value in one.params.items()),
                first=f"{one.first[0]:.4g} ({one.first[1]})",
                second=f"{one.second[0]:.4g} ({one.second[1]})",
            )
            for one in found.shared
        ]
        yield from _table("Points that both tried, mean and seeds", found.names, rows)


def _verdict(found: Comparison) -> str:
    gain = found.gain
    if found.objectives[0] != found.objectives[1]:
        return f"Not comparable: {definition(found.objectives[0])} against {definition(found.objectives[1])}."
    if gain is None:
        return "Nothing can be compared."
    ahead = found.names[1] if gain.mean > 0 else found.names[0]
    if gain.half_width is None:
        words = f"The best of {ahead} is better by {abs(gain.mean):.4g}" if gain.mean else "The best of both have the same value"
        return f"{words}; where a study has one seed of each, nothing tells whether that is luck."
    sure = abs(gain.mean) > gain.half_width
    words = f"of {ahead} is better" if sure else f"of {ahead} looks better, which may be luck," if gain.mean else "of both differ"
    how = f"paired by the {gain.shared_seeds} seeds that both have" if gain.shared_seeds else "unpaired: Welch's"
    return f"The best {words} by {abs(gain.mean):.4g} ± {gain.half_width:.2g} ({share(CONFIDENCE)} interval, {how})."


def _gain(first: StudyStatus, second: StudyStatus) -> Gain:
    """In pairs where the two best configurations share seeds enough, for a seed gives both the same data in the same order.

    Else Welch's interval of a difference of means (1947, doi 10.1093/biomet/34.1-2.28), each variance moderated within its study as there.
    """
    sign = 1 if first.record.objectives[0].direction is Direction.MAXIMIZE else -1
    sides = [_side(first), _side(second)]
    one, other = (values for values, _ in sides)
    if len(one.keys() & other.keys()) >= LEAST_SHARED:
        found = comparison.paired(one, other, confidence=CONFIDENCE)
        return Gain(mean=sign * found.mean, half_width=found.half_width, shared_seeds=len(one.keys() & other.keys()))
    mean = sign * (comparison.mean(list(other.values())) - comparison.mean(list(one.values())))
    known = [(spread, len(values)) for values, spread in sides if spread is not None]
    if len(known) < 2:
        return Gain(mean=mean, half_width=None, shared_seeds=0)
    parts = [(spread.sd**2 / count, spread.degrees) for spread, count in known]
    variance = math.fsum(part for part, _ in parts)
    if not variance:
        return Gain(mean=mean, half_width=0.0, shared_seeds=0)
    degrees = max(int(variance**2 / math.fsum(part**2 / of for part, of in parts)), 1)
    half_width = one_sided_point((0.0,), degrees, (1 + CONFIDENCE) / 2) * math.sqrt(variance)
    return Gain(mean=mean, half_width=half_width, shared_seeds=0)


def _side(status: StudyStatus) -> tuple[dict[int, float], comparison.Spread | None]:
    """By seed the values that the best configuration's mean is over, and their spread as the study's own result has it."""
    result = status.result()
    assert result is not None
    trials = {trial.number: trial for trial in status.trials}
    samples = [values_of(trials, one) for one in result.estimates]
    return samples[0], comparison.spreads([list(sample.values()) for sample in samples])[0]


def _shared(first: StudyStatus, second: StudyStatus) -> tuple[Shared, ...]:
    one, other = _by_point(first), _by_point(second)
    sign = -1 if first.record.objectives[0].direction is Direction.MAXIMIZE else 1
    both = [(point, one[point], other[point]) for point in one if point in other]
    both.sort(key=lambda row: sign * comparison.mean(row[1][1]))
    return tuple(
        Shared(params=mine[0], first=(comparison.mean(mine[1]), len(mine[1])), second=(comparison.mean(theirs[1]), len(theirs[1])))
        for _, mine, theirs in both
    )


def _by_point(status: StudyStatus) -> dict[str, tuple[dict[str, Any], list[float]]]:
    found: dict[str, tuple[dict[str, Any], list[float]]] = {}
    for trial in status.trials:
        if is_candidate(trial) and trial.values:
            found.setdefault(repr(sorted(trial.params.items())), (trial.params, []))[1].append(trial.values[0])
    return found


def _spent(status: StudyStatus) -> float:
    return sum(trial.seconds or 0.0 for trial in status.trials)


def _spaces(status: StudyStatus) -> dict[str, str]:
    found = domains(status.record.space, status.record.knobs, [trial.params for trial in status.trials])
    return {knob: domain.asked() for knob, domain in found.items()}


def _circumstances(status: StudyStatus) -> dict[str, str]:
    """What a study was run with, beside its knobs."""
    record = status.record
    own = {
        "sampler": record.sampler,
        "pruner": record.pruner,
        "plan": record.plan,
        "seed": str(record.seed),
        "n_trials": str(record.n_trials),
    }
    return {**own, **_configured(status.paths, [trial.number for trial in status.trials if trial.attempts]), **record.versions}


def _configured(study: StudyPaths, trials: Iterable[int]) -> dict[str, str]:
    """Model, data and sizes, from the complete configuration of the first trial that has one."""
    for number in trials:
        try:
            text = study.trial(number).attempt(0).spec.read_bytes()
            tree = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["config"]  # noqa: S506 (a safe loader)
        except (OSError, yaml.YAMLError, KeyError, TypeError):
            continue
        return {key: str(value) for key in _CONFIG if (value := _at(tree, key)) is not None}
    return {}


def _at(tree: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(tree, Mapping) or part not in tree:
            return None
        tree = tree[part]
    return tree


def _changes(first: Mapping[str, str], second: Mapping[str, str]) -> Iterator[Change]:
    for what in dict.fromkeys((*first, *second)):
        if first.get(what) != second.get(what):
            yield Change(what=what, first=first.get(what, "-"), second=second.get(what, "-"))


def _table(title: str, names: tuple[str, str], rows: Iterable[Change]) -> Iterator[str]:
    rows = list(rows)
    if not rows:
        return
    yield from (f"## {title}", "", f"|  | {names[0]} | {names[1]} |", "| :--- | :--- | :--- |")
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in (row.what, row.first, row.second))} |"
    yield ""

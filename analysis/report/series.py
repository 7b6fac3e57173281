"""What trials logged beside the objective: health metrics, and what each step had used up; reads in bounded memory, and decides nothing.

Of each line only the metrics that the report shows are decoded. Amounts are summed over all steps before anything is thinned.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import msgspec

from harness.lines import LineReader
from harness.paths import AttemptPaths, TrialPaths

POINTS = 120  # of a curve that is drawn
HEALTH = {  # title -> the first of these that a study logs
    "KL to the reference": ("actor/kl_loss", "actor/reward_kl_penalty", "rollout_corr/kl", "actor/ppo_kl"),
    "entropy": ("actor/entropy",),
    "response length": ("response_length/mean",),
    "gradient norm": ("actor/grad_norm",),
    "reward in training": ("critic/score/mean", "critic/rewards/mean"),
    "cut-off responses": ("response_length/clip_ratio",),
}
_TOKENS, _STEP_S, _TESTING_S = "perf/total_num_tokens", "timing_s/step", "timing_s/testing"
_READ = (_TOKENS, _STEP_S, _TESTING_S, *dict.fromkeys(name for names in HEALTH.values() for name in names))

Curve = tuple[tuple[float, float], ...]  # (step, value), ascending
_Row = tuple[float | None, ...]  # as _READ


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """Of one trial, over its attempts: a step that was trained again counts once, as it was last."""

    metrics: dict[str, Curve] = field(default_factory=dict)  # thinned
    constant: dict[str, float] = field(default_factory=dict)  # metrics that never varied, and their value
    tokens: dict[int, float] = field(default_factory=dict)  # used up to a step and in it
    seconds: dict[int, float] = field(default_factory=dict)  # trained up to a step and in it, validations included

    def amount(self, of: Mapping[int, float], step: int) -> float | None:
        """At that step, or at the last one before it; a curve begins with nothing used up."""
        if not of:
            return None
        if step in of:
            return of[step]
        return max((value for at, value in of.items() if at <= step), default=0.0)


def read_series(paths: TrialPaths) -> Series:
    """All that could be read of a trial's metric files."""
    rows: dict[int, _Row] = {}
    for attempt in paths.attempts():
        begun = False
        for step, row in _rows(attempt):
            if not begun:
                rows = {at: kept for at, kept in rows.items() if at < step}  # it went on from a checkpoint
                begun = True
            before = rows.get(step)
            rows[step] = row if before is None else tuple(new if new is not None else old for new, old in zip(row, before, strict=True))
    steps = sorted(rows)
    columns = {name: _column(rows, steps, place) for place, name in enumerate(_READ)}
    health = {name: points for name, points in columns.items() if points and name not in (_TOKENS, _STEP_S, _TESTING_S)}
    return Series(
        metrics={name: thinned(points) for name, points in health.items()},
        constant={name: points[0][1] for name, points in health.items() if len(points) > 1 and len({value for _, value in points}) == 1},
        tokens=_summed(columns[_TOKENS]),
        seconds=_summed(columns[_STEP_S], columns[_TESTING_S]),
    )


def shown_metrics(of: Iterable[Series]) -> dict[str, str]:
    """Of each health metric the first name that is logged, and its title."""
    logged = {name for one in of for name in one.metrics}
    found = ((next((name for name in names if name in logged), None), title) for title, names in HEALTH.items())
    return {name: title for name, title in found if name is not None}


def thinned(points: Sequence[tuple[float, float]], most: int = POINTS) -> Curve:
    """At most so many points: the first, the last, and the lowest and the highest of each stretch between, so that no spike is lost."""
    if len(points) <= most:
        return tuple(points)
    inner, stretches = points[1:-1], (most - 2) // 2
    kept = [points[0]]
    for index in range(stretches):
        part = inner[index * len(inner) // stretches : (index + 1) * len(inner) // stretches]
        kept += sorted({min(part, key=itemgetter(1)), max(part, key=itemgetter(1))})
    return (*kept, points[-1])


def _rows(attempt: AttemptPaths) -> Iterator[tuple[int, _Row]]:
    for line in LineReader(attempt.metrics).new_lines():
        try:
            point = _DECODER.decode(line)
        except (ValueError, RecursionError):  # the file belongs to the training: what is no line of verl's is left out
            continue
        yield point.step, msgspec.structs.astuple(point.data)


def _column(rows: Mapping[int, _Row], steps: Sequence[int], place: int) -> list[tuple[float, float]]:
    return [(step, value) for step in steps if (value := rows[step][place]) is not None and math.isfinite(value)]


def _summed(*columns: Iterable[tuple[float, float]]) -> dict[int, float]:
    amounts: dict[int, float] = {}
    for column in columns:
        for step, amount in column:
            if math.isfinite(amount) and amount > 0:
                amounts[int(step)] = amounts.get(int(step), 0.0) + amount
    total, sums = 0.0, {}
    for step in sorted(amounts):
        total += amounts[step]
        sums[step] = total
    return sums


# A struct of the wanted names only: whatever else a line holds is skipped without being built.
_Data: Any = msgspec.defstruct(
    "_Data",
    [(f"m{place}", float | None, None) for place in range(len(_READ))],
    rename={f"m{place}": name for place, name in enumerate(_READ)},
)
_Line: Any = msgspec.defstruct("_Line", [("step", int), ("data", _Data)])
_DECODER: Any = msgspec.json.Decoder(_Line)

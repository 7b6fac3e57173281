"""Reads trainings that ran without this harness, whatever keeps them, alike: one grammar of runs.yaml, one rule of how each counts.

Refuses, in one sentence that says what is there, a source in whose metrics the objective is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from harness.command import configuration_id
from harness.errors import ConfigError
from harness.runs.nouns import End, Ending, Found, Run, Told, Wishes
from harness.runs.sidecar import as_said, objective_of, read_sidecar
from harness.runs.source import Source, open_source, told_of
from harness.runs.trace import Trace, trace_of
from harness.types import Objective, Reason, TrialState

_NAMES = 12  # of metrics, in a message
_TELLING = ("val-", "critic/rewards", "critic/score")  # how a name begins that may be an objective
_WHY = {
    Ending.STOPPED: "where somebody stopped it",
    Ending.RUNNING: "and still ran when it was read",
    Ending.UNKNOWN: "for a reason that is not in it",
}


def read_runs(source: str, wishes: Wishes, spool: Path) -> Found:
    """`spool`: an empty folder, for the rows of W&B's runs; what is found is to be used while it is there.

    Raises ConfigError, and TrackerError where W&B's server does not give what it is asked for.
    """
    there = open_source(source, wishes, spool)
    said = read_sidecar(there.folder)
    objective = objective_of(said, wishes)
    traced = [(one, trace_of(one.metrics, objective)) for one in there.kept]
    telling = [(one, trace) for one, trace in traced if trace.tells]
    if not traced:
        raise ConfigError(f"{there.origin}: there is none")
    if not telling:
        raise ConfigError(_nothing(there, objective, [trace for _, trace in traced]))
    told = as_said(said, told_of([one for one, _ in telling]), [key for one in there.kept for key in one.keys])
    total = max(trace.steps for _, trace in telling)
    runs = [_run(one, trace, total) for one, (_, trace) in zip(told, telling, strict=True)]
    return Found(
        name=there.name,
        origin=there.origin,
        objective=objective,
        runs=tuple(_with_seeds(runs)),
        left_out=len(traced) - len(telling),
        unreadable=there.unreadable,
    )


def _run(told: Told, trace: Trace, total: int) -> Run:
    seconds = trace.seconds if told.seconds is None else told.seconds
    return Run(
        told=told,
        configuration=told.configuration or configuration_id({"file": told.keys[0]} if told.params is None else told.params),
        seed=told.seed or 0,
        curve=dict(trace.curve.values),
        value=trace.value,
        steps=trace.steps,
        seconds=seconds,
        gpu_seconds=seconds * told.gpus if told.gpu_seconds is None else told.gpu_seconds,
        end=end_of(told, trace, total),
    )


def end_of(told: Told, trace: Trace, total: int) -> End:
    """How a run counts, of which the longest has `total` steps. What its own study said of it stands."""
    if not trace.finite:
        return End(state=TrialState.FAIL, reason=Reason.NON_FINITE, message=f"{told.keys[-1]}: the objective was not finite")
    if told.end is not None:
        return told.end
    if told.ending is Ending.FINISHED or trace.steps >= total:
        return End(state=TrialState.COMPLETE, reason=Reason.FINISHED, message=told.keys[-1])
    if told.ending is Ending.FAILED:
        return End(state=TrialState.FAIL, reason=Reason.CRASHED, message=f"{told.keys[-1]} failed at step {trace.steps} of {total}")
    message = f"{told.keys[-1]} ends at step {trace.steps} of {total}, {_WHY[told.ending]}"
    return End(state=TrialState.PRUNED, reason=Reason.USER, message=message)


def _with_seeds(runs: Iterable[Run]) -> Iterable[Run]:
    """Where nobody named seeds, runs of one configuration count as so many: what verl was not told to repeat, it does not repeat."""
    seen: Counter[str] = Counter()
    for run in runs:
        yield run if run.told.seed is not None else replace(run, seed=seen[run.configuration])
        seen[run.configuration] += 1


def _nothing(source: Source, objective: Objective, traces: Sequence[Trace]) -> str:
    names = {name for trace in traces for name in trace.curve.seen}
    if not names:
        return f"{source.origin}: no run there has logged any metric"
    shown = sorted(names, key=lambda name: (not name.startswith(_TELLING), name))
    more = f" and {len(shown) - _NAMES} more" if len(shown) > _NAMES else ""
    return f"{source.origin}: no run there has logged {objective.metric}; --objective takes {', '.join(shown[:_NAMES])}{more}"

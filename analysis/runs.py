"""Makes a study of trainings that ran without this harness: a folder of verl's metric files, one a run; refuses what it cannot know.

Beside them `runs.yaml` says what they are, for no metric file does:

    objective: {metric: val-core/*/acc/mean@1, direction: maximize, reduction: last}
    runs:
      a.jsonl: {params: {lr: 1e-5}, seed: 0}

A file that it does not name is a configuration of its own. One that ends before the longest was stopped, as far as its metrics tell.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from harness import records
from harness.command import configuration_id
from harness.errors import ConfigError, NonFiniteMetric
from harness.metrics import MetricReader
from harness.objective import Curve
from harness.paths import STUDY_NAME, StudyPaths
from harness.types import MetricPoint, Objective, Params, Reason, Slot, StudyRecord, TrialResult, TrialSpec, TrialState

SIDECAR = "runs.yaml"
_SECONDS = ("timing_s/step", "timing_s/testing")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    """What one file tells. Not finite: its objective became NaN."""

    file: Path
    params: Params
    seed: int
    value: float | None
    finite: bool
    steps: int
    seconds: float  # of its steps and validations


def take_in(folder: Path, to: StudyPaths) -> int:
    """How many runs the new study has. Raises ConfigError, and then nothing was written."""
    if not STUDY_NAME.fullmatch(to.name):
        raise ConfigError(f"--name: expected up to 64 letters, digits, '.', '_' or '-', got {to.name!r}")
    if to.root.exists():
        raise ConfigError(f"{to.root} is there already; --name says what the study is to be called")
    objective, said = _sidecar(folder / SIDECAR)
    found = [run for file in sorted(folder.glob("*.jsonl")) if (run := _read(file, objective, said.get(file.name))) is not None]
    if not found:
        raise ConfigError(f"{folder}: no file *.jsonl there has logged {objective.metric}")
    to.root.mkdir(parents=True)
    records.write(to.record, _record(to, folder, objective, found))
    for number, run in enumerate(found):
        _write(to, number, run, total=max(run.steps for run in found))
    return len(found)


def _sidecar(path: Path) -> tuple[Objective, Mapping[str, Mapping[str, Any]]]:
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
        objective, runs = msgspec.convert(said["objective"], Objective), said.get("runs") or {}
        return objective, msgspec.convert(runs, dict[str, dict[str, Any]])
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path} is missing: it says what the objective is, `objective: {{metric: ...}}`, and the params of each run"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError, msgspec.ValidationError) as error:
        raise ConfigError(
            f"{path}: expected objective: {{metric: ...}} and runs: {{FILE: {{params: ..., seed: ...}}}}; {_line(error)}"
        ) from error


def _line(error: Exception) -> str:
    return f"there is no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())


def _read(file: Path, objective: Objective, said: Mapping[str, Any] | None) -> _Run | None:
    """None where the objective is not in it."""
    curve, steps, seconds, finite = Curve(objective), 0, {}, True
    for point in MetricReader(file).new_points():
        steps = max(steps, point.step)
        seconds[point.step] = _took(point)
        try:
            curve.add(point)
        except NonFiniteMetric:
            finite = False
    if not curve.values and finite:
        return None
    params, seed = ({"file": file.name}, 0) if said is None else (said.get("params") or {}, said.get("seed", 0))
    if not isinstance(params, dict) or not isinstance(seed, int):
        raise ConfigError(f"{file.with_name(SIDECAR)}: {file.name}: expected params: {{knob: value}} and seed: a whole number")
    value = curve.value() if finite and curve.values else None
    return _Run(file=file, params=params, seed=seed, value=value, finite=finite, steps=steps, seconds=math.fsum(seconds.values()))


def _took(point: MetricPoint) -> float:
    return math.fsum(value for name in _SECONDS if math.isfinite(value := point.values.get(name, 0.0)) and value > 0)


def _record(to: StudyPaths, folder: Path, objective: Objective, found: Sequence[_Run]) -> StudyRecord:
    return StudyRecord(
        name=to.name,
        created_at=min(run.file.stat().st_mtime - run.seconds for run in found),
        objectives=(objective,),
        knobs=tuple(dict.fromkeys(knob for run in found for knob in run.params)),
        space={},
        n_trials=len(found),
        seed=None,
        storage="journal",
        slots=(Slot(index=0),),
        command=(),
        sampler="unknown",
        pruner="unknown",
        versions={},
        total_steps=max(run.steps for run in found),
        note=f"Made of the metric files in {folder.name}: what is not in them is not known.",
    )


def _write(study: StudyPaths, number: int, run: _Run, *, total: int) -> None:
    trial = study.trial(number)
    attempt = trial.attempt(0)
    attempt.root.mkdir(parents=True)
    shutil.copyfile(run.file, attempt.metrics)
    ended_at = run.file.stat().st_mtime
    spec = TrialSpec(
        study=study.name,
        number=number,
        configuration=configuration_id(run.params),
        params=run.params,
        overrides=(),
        seed=run.seed,
        created_at=ended_at - run.seconds,
    )
    records.write(trial.spec, spec)
    state, reason, message = _end(run, total)
    result = TrialResult(
        number=number,
        state=state,
        reason=reason,
        message=message,
        values=(run.value,) if state is TrialState.COMPLETE and run.value is not None else None,
        steps=run.steps,
        attempts=1,
        seconds=run.seconds,
        gpu_seconds=0.0,
        startup_s=None,
        slot=None,
        ended_at=ended_at,
    )
    records.write(trial.result, result)


def _end(run: _Run, total: int) -> tuple[TrialState, Reason, str]:
    if not run.finite:
        return TrialState.FAIL, Reason.NON_FINITE, f"{run.file.name}: the objective was not finite"
    if run.steps < total:
        return TrialState.PRUNED, Reason.USER, f"{run.file.name} ends at step {run.steps} of {total}, for a reason that is not in it"
    return TrialState.COMPLETE, Reason.FINISHED, run.file.name

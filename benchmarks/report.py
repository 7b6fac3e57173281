"""What a report costs: python -m benchmarks.report

Studies are written as a study leaves them, with the lines that verl logs. Each report is a process of its own, from its start to its end,
with the page, the Markdown and all imports in it.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks.tables import heading, table
from harness import records
from harness.paths import StudyPaths
from harness.types import Event, Objective, Reason, Slot, StudyRecord, TrialResult, TrialSpec, TrialState

METRIC = "val-core/openai/gsm8k/acc/mean@1"
SPACE = {
    "lr": '{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.001, "log": true}}',
    "kl_coef": '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.1, "log": true}}',
    "rollout_n": '{"name": "CategoricalDistribution", "attributes": {"choices": [4, 8, 16]}}',
}
STUDIES = ((200, 1000, 50), (10_000, 20, 12))  # trials, steps, metrics
SEEDS = 2


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--repeat", type=int, default=3)
    repeat = options.parse_args().repeat
    heading()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for trials, steps, metrics in STUDIES:
            study = write_study(Path(folder), trials, steps, metrics)
            took = sorted(report(study) for _ in range(repeat))
            size = (study.report / "report.html").stat().st_size / 1e6
            seconds, processor, memory = zip(*took, strict=True)
            cells = [f"{seconds[0]:.1f}", f"{min(processor):.1f}", f"{max(memory):.0f}", f"{size:.1f}"]
            rows.append([f"{trials:,} x {steps:,} x {metrics}", *cells])
    table(["trials x steps x metrics", "s, fastest of " + str(repeat), "of a processor", "peak memory, MB", "page, MB"], rows)


def report(study: StudyPaths) -> tuple[float, float, float]:
    """Seconds on the clock and of a processor, and the most memory that any child of ours has taken so far in MB."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "analysis.cli", "report", str(study.root)], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, after.ru_maxrss / 1024


def write_study(folder: Path, trials: int, steps: int, metrics: int) -> StudyPaths:
    study = StudyPaths(folder / f"of-{trials}")
    study.root.mkdir()
    record = StudyRecord(
        name=study.name,
        created_at=1.7e9,
        objectives=(Objective(metric=METRIC),),
        knobs=tuple(SPACE),
        space=SPACE,
        n_trials=trials,
        seed=0,
        storage="journal",
        slots=tuple(Slot(index=index) for index in range(8)),
        command=("-m", "experiment=benchmark"),
        sampler="TPESampler",
        pruner="MedianPruner",
        versions={},
        total_steps=steps,
    )
    records.write(study.record, record)
    for number in range(trials):
        _write_trial(study, number, steps, metrics)
    return study


def _write_trial(study: StudyPaths, number: int, steps: int, metrics: int) -> None:
    """Every other one stops at a third of its steps; those that do not have two seeds."""
    draw = random.Random(number // SEEDS)
    params = {"lr": 10 ** draw.uniform(-6, -3), "kl_coef": 10 ** draw.uniform(-4, -1), "rollout_n": draw.choice([4, 8, 16])}
    whole = (number // SEEDS) % 2 == 0
    state, last = (TrialState.COMPLETE, steps) if whole else (TrialState.PRUNED, steps // 3)
    end = math.exp(-((math.log10(params["lr"]) + 4.5) ** 2))
    attempt = study.trial(number).attempt(0)
    attempt.root.mkdir(parents=True)
    spec = TrialSpec(
        study=study.name,
        number=number,
        configuration=f"{number // SEEDS:08x}",
        params=params,
        overrides=(),
        seed=number % SEEDS,
        created_at=1.7e9,
    )
    study.trial(number).spec.write_bytes(records.encode(spec))
    noise = random.Random(number)
    names = ["actor/kl_loss", "actor/entropy", "response_length/mean", "actor/grad_norm", "perf/total_num_tokens", "timing_s/step"]
    names += [f"actor/metric_{place}" for place in range(metrics - len(names) - 1)]
    lines, value = [], 0.0
    for step in range(1, last + 1):
        data = {name: noise.random() for name in names}
        if step % max(steps // 100, 1) == 0 or step == last:
            value = data[METRIC] = end * step / steps + noise.gauss(0, 0.01)
        lines.append(json.dumps({"step": step, "data": data}))
    attempt.metrics.write_text("\n".join(lines) + "\n")
    began = 1.7e9 + 100 * number
    events = [
        Event(at=began, who="controller", name="given_slot", data={"slot": f"cpu:{number % 8}", "engine": 0}),
        Event(at=began + 5, who="engine", name="training"),
    ]
    attempt.events.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in events))
    result = TrialResult(
        number=number,
        state=state,
        reason=Reason.FINISHED if whole else Reason.PRUNED,
        message="",
        values=(value,) if whole else None,
        steps=last,
        attempts=1,
        seconds=600.0,
        gpu_seconds=0.0,
        startup_s=5.0,
        slot=f"cpu:{number % 8}",
        ended_at=began + 600,
    )
    study.trial(number).result.write_bytes(records.encode(result))


if __name__ == "__main__":
    main()

"""How often guards fire on healthy trials, how soon on sick ones, and what a line costs them: python -m benchmarks.guards [folder ...]

Healthy trials are simulated in studies of 16 at once, with what makes real curves hard to judge: noise that stays for some steps, single
wild values in each metric, trials that differ by orders of magnitude, entropies that fall because the task was learned, responses that
grow, rewards that stay flat, validation on 64 problems at each fifth step. Each metric is a series as verl logs it. A collapse is planted
in every fourth trial, half-way. Folders are searched for metrics.jsonl of real trainings, each folder being a study. Settings are those of
conf/config.yaml.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.tables import heading, table
from harness.guards import Watch, peers_of
from harness.metrics import MetricReader
from harness.types import GuardSettings, MetricPoint
from sweeps.guard_config import read_guards

AT_ONCE, STEPS, FREQUENCY, PROBLEMS, WILD = 16, 100, 5, 64, 0.02
Collapse = Callable[[dict[str, float], float], dict[str, float]]  # values of a step, progress of the collapse in (0, 1] -> values


def defaults() -> GuardSettings:
    root = yaml.safe_load((Path(__file__).parents[1] / "conf" / "config.yaml").read_text())
    return read_guards(root["guards"])


@dataclass(slots=True)
class Noise:
    """Noise that stays for some steps, and now and then one value that is far out."""

    draw: random.Random
    size: float  # of the logarithm
    memory: float = 0.7
    _state: float = 0.0

    def around(self, level: float) -> float:
        fresh = math.sqrt(1 - self.memory**2) * self.draw.gauss(0, self.size)
        self._state = self.memory * self._state + fresh
        wild = 10 ** self.draw.uniform(-2, 2) if self.draw.random() < WILD else 1.0
        return level * math.exp(self._state) * wild


def healthy(seed: int, steps: int = STEPS) -> Iterator[dict[str, float]]:
    """The values of each step of one trial."""
    draw = random.Random(seed)
    top, start = draw.choice((0.1, 0.3, 0.6, 0.8, 1.0)), draw.uniform(0.0, 0.3)
    pace, middle = draw.uniform(4, 16), draw.uniform(0.1, 0.7)
    kl, entropy, growth = 10 ** draw.uniform(-4, -0.3), 10 ** draw.uniform(-0.6, 0.4), draw.uniform(0.5, 4)
    length, speed, norm = 10 ** draw.uniform(1, 3.3), 10 ** draw.uniform(2, 4), 10 ** draw.uniform(-1.5, 0.7)
    noises = {
        name: Noise(draw, size)
        for name, size in (("kl", 0.5), ("ppo", 0.8), ("entropy", 0.1), ("length", 0.1), ("norm", 0.4), ("speed", 0.25))
    }
    for step in range(1, steps + 1):
        learned = 1 / (1 + math.exp(-pace * (step / steps - middle)))
        right = min(max(start + (top - start) * learned, 0.0), 1.0)
        yield _step(draw, step, right) | {
            "actor/kl_loss": noises["kl"].around(kl * learned),
            "actor/ppo_kl": noises["ppo"].around(kl / 20),
            "actor/entropy": noises["entropy"].around(entropy * (1 - 0.99 * learned * right)),
            "actor/grad_norm": noises["norm"].around(norm),
            "actor/pg_loss": draw.gauss(0, 0.01),
            "response_length/mean": noises["length"].around(length * growth**learned),
            "response_length/clip_ratio": min(max(draw.gauss(0.3 * learned, 0.1), 0.0), 1.0),
            "perf/throughput": noises["speed"].around(speed),
        }


def _step(draw: random.Random, step: int, right: float) -> dict[str, float]:
    """Rewards of a batch of 64 answers that are right or wrong, and a validation where it is time for one."""
    share = sum(draw.random() < right for _ in range(PROBLEMS)) / PROBLEMS
    values = {
        "critic/rewards/mean": share,
        "critic/score/mean": share,
        "critic/score/max": float(share > 0),
        "critic/score/min": float(share == 1),
    }
    if step % FREQUENCY == 0:
        values["val-core/math/acc/mean@1"] = sum(draw.random() < right for _ in range(PROBLEMS)) / PROBLEMS
    return values


def _ruined(values: dict[str, float], progress: float) -> dict[str, float]:
    names = ("critic/rewards/mean", "critic/score/mean", "val-core/math/acc/mean@1")
    return values | {name: values[name] * (1 - progress) for name in names if name in values}


PLANTED: dict[str, Collapse] = {
    "kl_blow_up": lambda values, progress: _ruined(values, progress) | {"actor/kl_loss": values["actor/kl_loss"] + 30 * progress},
    "ppo_kl_blow_up": lambda values, progress: _ruined(values, progress) | {"actor/ppo_kl": 10 * progress},
    "entropy_collapse": lambda values, progress: _ruined(values, progress) | {"actor/entropy": values["actor/entropy"] * 1e-4**progress},
    "entropy_explosion": lambda values, progress: _ruined(values, progress) | {"actor/entropy": values["actor/entropy"] + 10 * progress},
    "length_explosion": lambda values, progress: (
        _ruined(values, progress) | {"response_length/mean": values["response_length/mean"] * (1 + 40 * progress)}
    ),
    "truncation": lambda values, progress: _ruined(values, progress) | {"response_length/clip_ratio": min(1.0, 0.3 + progress)},
    "grad_norm": lambda values, progress: _ruined(values, progress) | {"actor/grad_norm": values["actor/grad_norm"] * 1e4**progress},
    "throughput_collapse": lambda values, progress: values | {"perf/throughput": values["perf/throughput"] / (1 + 20 * progress)},
    "no_signal": lambda values, _: _ruined(values, 1.0) | {"critic/score/max": 0.0, "critic/score/min": 0.0},
    "reward_hacking": lambda values, progress: _ruined(values, progress) | {"critic/rewards/mean": 1.0 + progress},
    "non_finite": lambda values, _: values | {"actor/grad_norm": math.nan},
}
ONSET, RAMP = STEPS // 2, 10  # steps


def sick(code: str, seed: int) -> Iterator[dict[str, float]]:
    """A trial that was healthy until half-way."""
    for step, values in enumerate(healthy(seed), 1):
        yield values if step <= ONSET else PLANTED[code](values, min((step - ONSET) / RAMP, 1.0))


Fired = dict[int, dict[str, int]]  # trial -> code -> step at which it fired first


def judged(trials: list[list[dict[str, float]]], settings: GuardSettings) -> Fired:
    """One study, its trials side by side."""
    peers = peers_of(settings)
    watches = [Watch.over(number, settings, peers) for number in range(len(trials))]
    fired: Fired = {number: {} for number in range(len(trials))}
    for step in range(max(map(len, trials))):
        for number, trial in enumerate(trials):
            if step < len(trial):
                _note(fired[number], watches[number], MetricPoint(step=step + 1, values=trial[step]))
    return fired


def _note(fired: dict[str, int], watch: Watch, point: MetricPoint) -> None:
    for verdict in watch.add(point):
        fired[verdict.code] = point.step
        watch.dismiss(verdict.code)


def false_alarms(trials: int, settings: GuardSettings) -> Counter[str]:
    """How many of the healthy trials each guard fires on; `any` counts trials."""
    counts: Counter[str] = Counter(any=0)
    for first in range(0, trials, AT_ONCE):
        for codes in judged([list(healthy(seed)) for seed in range(first, first + AT_ONCE)], settings).values():
            counts.update([*codes, *(["any"] if codes else [])])
    return counts


def detections(code: str, studies: int, settings: GuardSettings) -> list[int | None]:
    """Steps from the onset to the verdict, of each sick trial; None where there was none."""
    found: list[int | None] = []
    for study in range(studies):
        seeds = range(10**6 + study * AT_ONCE, 10**6 + (study + 1) * AT_ONCE)
        fired = judged([list(sick(code, seed) if seed % 4 == 0 else healthy(seed)) for seed in seeds], settings)
        found += [fired[number].get(code, ONSET) - ONSET or None for number, seed in enumerate(seeds) if seed % 4 == 0]
    return found


def recorded(folder: Path, settings: GuardSettings) -> tuple[int, Counter[str]]:
    """How many real trainings a folder holds, and the guards that fire on them."""
    peers, counts = peers_of(settings), Counter[str]()
    files = sorted(folder.rglob("metrics.jsonl"))
    points = [list(MetricReader(path).new_points()) for path in files]
    for number, trial in enumerate(points):
        for point in trial:
            peers.add(number, point)
    for number, trial in enumerate(points):
        fired: dict[str, int] = {}
        watch = Watch.over(number, settings, peers)
        for point in trial:
            _note(fired, watch, point)
        counts.update(fired)
    return len(files), counts


def microseconds_a_line(settings: GuardSettings) -> float:
    """CPU time of all guards, on lines of a hundred values among 32 trials."""
    others = {f"timing_s/part_{number}": 0.5 for number in range(85)}
    trials = [[values | others for values in healthy(seed)] for seed in range(32)]
    began = time.process_time()
    judged(trials, settings)
    return 1e6 * (time.process_time() - began) / sum(map(len, trials))


def main(argv: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=4000)
    parser.add_argument("--studies", type=int, default=5, help="of each planted collapse")
    parser.add_argument("folders", nargs="*", type=Path)
    asked = parser.parse_args(None if argv is None else list(argv))
    settings = defaults()
    heading()
    alarms = false_alarms(asked.trials, settings)
    rows = []
    for code in PLANTED:
        found = detections(code, asked.studies, settings)
        delays = sorted(delay for delay in found if delay is not None)
        median = str(delays[len(delays) // 2]) if delays else ""
        rows.append((code, f"{alarms[code]} of {asked.trials}", f"{len(delays)} of {len(found)}", median))
    table(("guard", "fires on healthy trials", "on planted collapses", "median steps after the onset"), rows)
    print(f"any guard fires on {alarms['any']} of {asked.trials} healthy trials: {alarms['any'] / asked.trials:.2%}")
    for folder in asked.folders:
        count, fired = recorded(folder, settings)
        print(f"{folder.name}: {count} real trainings, {dict(fired) or 'no guard fires'}")
    print(f"all guards together cost {microseconds_a_line(settings):.1f} microseconds of CPU time a line")


if __name__ == "__main__":
    main()

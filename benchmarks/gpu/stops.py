"""How soon a GPU is free again after a stop by force, in every phase of a trial: python -m benchmarks.gpu.stops [overrides of a study]

One study with as many slots as it is given, an engine for each trial. Trial k is ended without a grace as soon as it has come to its phase,
the next one gets the slot. A row is printed as soon as it is known: seconds from the wish to the end of all processes, to the GPU's memory
back within TOLERANCE_MIB of where it was before the study, and to the next trial's engine taking its attempt. Without a GPU the columns of
memory stay empty.
"""

from __future__ import annotations

import argparse
import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.tables import heading
from harness import gpus, records
from harness.errors import HarnessError
from harness.launchers.gpu_guard import TOLERANCE_MIB
from harness.paths import AttemptPaths, EnginePaths, StudyPaths
from harness.types import Event, Reason, Slot, StopRequest

POLL_S = 0.05
GIVE_UP_S = 120.0
GRAPHS = b"Capturing CUDA graph"  # what vLLM says when it begins

COLUMNS = ("stopped amid", "slot", "MiB held", "s to the last process", "s to its memory", "s to the next trial's engine")


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """Has begun `after_s` behind an event of the attempt, and when the engine's log holds `line`."""

    name: str
    event: str
    after_s: float = 0.0
    line: bytes = b""

    def has_begun(self, events: Sequence[Event], log: Path, now: float) -> bool:
        at = next((event.at for event in events if event.name == self.event), None)
        return at is not None and now - at >= self.after_s and (not self.line or self.line in log.read_bytes())


PHASES = (
    Phase(name="imports", event="accepted", after_s=2.0),
    Phase(name="models", event="processes", after_s=0.5),
    Phase(name="rollout engine", event="models", after_s=5.0),
    Phase(name="graph capture", event="models", line=GRAPHS),
    Phase(name="rollout", event="training", after_s=0.2),
    Phase(name="update", event="sampled", after_s=2.0),
    Phase(name="checkpoint", event="saving"),
)
# An update that lasts, and a checkpoint at each step.
OVERRIDES = ("actor_rollout_ref.actor.ppo_epochs=20", "trainer.save_freq=1", "trainer.val_before_train=false", "steps=50")
STUDY = ("hydra/sweeper/sampler=random", "hydra/sweeper/pruner=none", "engine.reuse=never", "hydra.sweeper.max_failure_rate=1")


@dataclass(slots=True)
class Stop:
    """One that was asked for; `*_s` count from then."""

    phase: str
    attempt: AttemptPaths
    engine: EnginePaths
    slot: Slot
    asked_at: float
    held_mib: int | None  # on its GPUs when it was asked for
    gone_s: float | None = None
    free_s: float | None = None
    next_s: float | None = None

    @property
    def is_over(self) -> bool:
        wanted = [self.gone_s, self.next_s, *([] if self.held_mib is None else [self.free_s])]
        return all(spent is not None for spent in wanted) or time.time() - self.asked_at > GIVE_UP_S

    def row(self) -> str:
        seconds = [("-" if spent is None else f"{spent:.1f}") for spent in (self.gone_s, self.free_s, self.next_s)]
        return f"| {self.phase} | {self.slot.name} | {'-' if self.held_mib is None else self.held_mib} | {' | '.join(seconds)} |"


@dataclass(slots=True)
class Campaign:
    """Stops trial after trial of a running study, each in its phase."""

    study: StudyPaths
    plan: Sequence[Phase]
    baseline: dict[str, int]  # MiB in use by GPU, before
    stops: dict[int, Stop] = field(default_factory=dict)  # by trial

    def look(self) -> None:
        for trial in self.study.trials():
            if trial.number < len(self.plan) and trial.number not in self.stops:
                self._stop_in_its_phase(trial.attempt(0), self.plan[trial.number])
        for stop in self.stops.values():
            if not stop.is_over:
                self._follow(stop)
                if stop.is_over:
                    print(stop.row(), flush=True)

    @property
    def is_over(self) -> bool:
        return len(self.stops) == len(self.plan) and all(stop.is_over for stop in self.stops.values())

    def _stop_in_its_phase(self, attempt: AttemptPaths, phase: Phase) -> None:
        events, now = list(records.events(attempt.events)), time.time()
        given = next((event for event in events if event.name == "given_slot"), None)
        if given is None:
            return
        engine = self.study.engine(given.data["engine"])
        if not phase.has_begun(events, engine.log, now):
            return
        request = StopRequest(reason=Reason.USER, message=f"stopped amid {phase.name}", requested_at=now, grace_s=0.0)
        records.write(attempt.stop, request)
        slot = Slot.named(given.data["slot"])
        self.stops[attempt.trial.number] = Stop(
            phase=phase.name, attempt=attempt, engine=engine, slot=slot, asked_at=now, held_mib=self._used(slot)
        )

    def _follow(self, stop: Stop) -> None:
        since = time.time() - stop.asked_at
        if stop.gone_s is None and stop.engine.ended.exists():
            stop.gone_s = since
        if stop.held_mib is not None and stop.free_s is None and self._is_free(stop.slot):
            stop.free_s = since
        if stop.next_s is None and (at := self._next_accepted(stop)) is not None:
            stop.next_s = at - stop.asked_at

    def _next_accepted(self, stop: Stop) -> float | None:
        """When another engine on the slot took an attempt."""
        for trial in self.study.trials():
            events = {event.name: event for event in records.events(trial.attempt(0).events)}
            given, accepted = events.get("given_slot"), events.get("accepted")
            if given and accepted and given.data["slot"] == stop.slot.name and accepted.at > stop.asked_at:
                return accepted.at
        return None

    def _used(self, slot: Slot) -> int | None:
        used = in_use(slot.gpus)
        return sum(used.values()) if used else None

    def _is_free(self, slot: Slot) -> bool:
        return all(mib <= self.baseline[gpu] + TOLERANCE_MIB for gpu, mib in in_use(slot.gpus).items())


def in_use(names: Sequence[str]) -> dict[str, int]:
    """MiB by GPU; empty where no driver answers."""
    try:
        return {name: device.used for name, device in zip(names, gpus.memory(names), strict=True)}
    except HarnessError:
        return {}


def planned(phases: Sequence[Phase], each: int) -> Iterator[Phase]:
    """Round by round."""
    return itertools.chain.from_iterable(itertools.repeat(phases, each))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="stops", help="of the study")
    parser.add_argument("--each", type=int, default=2, help="stops in each phase")
    parser.add_argument("--phases", default=",".join(phase.name for phase in PHASES), help="which, by name")
    asked, overrides = parser.parse_known_args()
    chosen = [phase for phase in PHASES if phase.name in asked.phases.split(",")]
    plan = list(planned(chosen, asked.each))
    study = StudyPaths(Path("outputs") / asked.name)
    own = (f"hydra.sweeper.n_trials={len(plan) + 64}", f"study.name={asked.name}", "paths.outputs=outputs")
    command = [sys.executable, "-m", "sweeps.app", "-m", *(overrides or ["experiment=smollm2_gpu"]), *OVERRIDES, *STUDY, *own]
    heading()
    baseline = in_use(gpus.visible())
    print(f"{' '.join(command[3:])}\n\nin use before: {baseline or 'no GPU'}\n")
    print(
        "| stopped amid | slot | MiB held | s to the last process | s to its memory | s to the next trial's engine |\n" + "| --- " * 6 + "|"
    )
    with (Path("outputs") / f"{asked.name}.out").open("wb") as output:
        controller = subprocess.Popen(command, stdout=output, stderr=output)
    campaign = Campaign(study, plan, baseline)
    while controller.poll() is None and not campaign.is_over:
        time.sleep(POLL_S)
        campaign.look()
    for _ in range(2):  # the second one stops what runs
        if controller.poll() is None:
            controller.send_signal(signal.SIGTERM)
            time.sleep(1)
    controller.wait()
    print(f"\n{len(campaign.stops)} of {len(plan)} stops; in use after: {in_use(gpus.visible()) or 'no GPU'}")


if __name__ == "__main__":
    Path("outputs").mkdir(exist_ok=True)
    main()

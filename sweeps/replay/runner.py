"""A runner that trains nothing: it plays recorded curves in slots, on a clock of its own, and counts what that would have cost.

Time and cost are in full trainings. A trial's value is known when it has trained to the step; a request to stop is honoured there, as a
step boundary is in verl. A run that diverged fails where its first NaN stands, as in a study of real runs, and costs what it had trained
when its last number was recorded: no storage tells more of it.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from harness.objective import reduce
from harness.types import Objective, Reason, TrialState
from sweeps.replay.tasks import Recorded
from sweeps.runner import Outcome, Proposal, Update

RESTORE_COST = 0.02  # of a full training: going on from a checkpoint
_JITTER = (0.8, 1.2)  # of a full training: how long trials take
_STOPPED = {Reason.PRUNED: TrialState.PRUNED, Reason.GUARDED: TrialState.PRUNED}  # all else waits to be gone on with
_ROUNDING = 1e-9


@dataclass(slots=True)
class _Run:
    """A trial, and how far it got."""

    curve: Recorded
    pace: float  # full trainings of time for a full training
    reached: int = 0  # checkpoints
    running: bool = True
    wish: tuple[Reason, str] | None = None  # to end

    @property
    def step(self) -> int:
        return self.curve[self.reached - 1][0] if self.reached else 0


@dataclass(slots=True)
class SimulatedRunner:
    """`budget`: starts nothing that could cost more, in full trainings; None: whoever asks sees to it."""

    recording: Callable[[Proposal], Recorded | None]
    objective: Objective
    total_steps: int
    slots: int
    draw: random.Random
    budget: float | None = None
    clock: float = 0.0
    _runs: dict[int, _Run] = field(default_factory=dict)
    _due: list[tuple[float, int, int]] = field(default_factory=list)  # when, in which order, which trial
    _at_rest: list[Update] = field(default_factory=list)  # of paused trials that were asked to end
    _order: int = 0
    _steps: int = 0  # trained, in all
    _restores: int = 0

    @property
    def spent(self) -> float:
        return self._steps / self.total_steps + self._restores * RESTORE_COST

    def free(self) -> int:
        return min(self.slots - len(self._due), self._affordable())

    @property
    def exhausted(self) -> bool:
        """Nothing runs, and nothing more can."""
        return not self._due and self._affordable() < 1

    def _affordable(self) -> int:
        """Trainings that could still run to their ends beside those that run."""
        if self.budget is None:
            return self.slots
        committed = sum((self.total_steps - run.step) / self.total_steps for run in self._runs.values() if run.running)
        return math.floor(self.budget - self.spent - committed + _ROUNDING)

    def start(self, proposal: Proposal) -> Outcome | None:
        run = self._runs.get(proposal.number)
        if run is None:
            curve = self.recording(proposal)
            if curve is None:
                return Outcome(state=TrialState.PRUNED, reason=Reason.REFUSED, message="it was not recorded with another seed")
            run = self._runs[proposal.number] = _Run(curve, self.draw.uniform(*_JITTER))
        else:
            run.running, run.wish = True, None
            self._restores += run.reached > 0
        self._await(proposal.number, run, delay=RESTORE_COST if run.reached else 0.0)
        return None

    def _await(self, number: int, run: _Run, *, delay: float = 0.0) -> None:
        self._order += 1
        length = (run.curve[run.reached][0] - run.step) / self.total_steps
        heapq.heappush(self._due, (self.clock + delay + run.pace * length, self._order, number))

    def updates(self) -> Iterable[Update]:
        while self._at_rest:
            yield self._at_rest.pop(0)
        if not self._due:
            return
        self.clock, _, number = heapq.heappop(self._due)
        run = self._runs[number]
        point = run.curve[run.reached]
        outcome = self._end(run, point)
        if outcome is None or outcome.state is TrialState.COMPLETE:
            self._steps += point[0] - run.step
            run.reached += 1
        if outcome is None:
            yield Update(number=number, points=[point])
            outcome = _stopped(run.wish)  # as it may have been while the point was taken
        if outcome is None:
            self._await(number, run)
            return
        run.running = False
        points: Sequence[tuple[int, float]] = [point] if outcome.state is TrialState.COMPLETE else []
        yield Update(number=number, points=points, outcome=outcome)

    def _end(self, run: _Run, point: tuple[int, float]) -> Outcome | None:
        """How a trial ends by itself at this point."""
        if not math.isfinite(point[1]):
            said = f"{self.objective.metric} is {point[1]} at step {point[0]}"
            return Outcome(state=TrialState.FAIL, reason=Reason.NON_FINITE, message=said)
        if point != run.curve[-1]:
            return None
        return Outcome(state=TrialState.COMPLETE, reason=Reason.FINISHED, message="", values=(reduce(run.curve, self.objective),))

    def stop(self, number: int, reason: Reason, message: str) -> None:
        run = self._runs[number]
        run.wish = (reason, message)
        if not run.running:
            self._at_rest.append(Update(number=number, outcome=_stopped(run.wish)))


def _stopped(wish: tuple[Reason, str] | None) -> Outcome | None:
    if wish is None:
        return None
    return Outcome(state=_STOPPED.get(wish[0], TrialState.WAITING), reason=wish[0], message=wish[1])

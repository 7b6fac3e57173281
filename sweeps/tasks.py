"""Plain Hydra task functions under the same loop: with Hydra's own launchers in batches, with ours one by one as slots fall free."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

from harness.types import Reason, TrialState
from sweeps.runner import Outcome, Proposal, Update


class StreamingLauncher(Protocol):
    """What our launcher offers beyond Hydra's: jobs that start and end one by one."""

    def submit(self, overrides: Sequence[str], index: int) -> None: ...

    def finished(self) -> Iterable[tuple[int, JobReturn]]:
        """Waits for at least one of the jobs that run."""
        ...

    def close(self) -> None:
        """No more jobs will come."""
        ...


def outcome_of(result: JobReturn, directions: int) -> Outcome:
    """A task function's return value is what it was asked for: a number, or as many as there are directions."""
    if result.status is not JobStatus.COMPLETED:
        return _failed(Reason.CRASHED, f"{type(result._return_value).__name__}: {result._return_value}")
    returned = result.return_value
    try:
        values = tuple(float(value) for value in (returned if directions > 1 else [returned]))
    except (TypeError, ValueError):
        return _failed(Reason.NO_METRIC, f"the task function returned {returned!r}, not {_numbers(directions)}")
    if len(values) != directions:
        return _failed(Reason.NO_METRIC, f"the task function returned {len(values)} values, not {_numbers(directions)}")
    if any(math.isnan(value) for value in values):
        return _failed(Reason.NON_FINITE, "the task function returned NaN")
    return Outcome(state=TrialState.COMPLETE, reason=Reason.FINISHED, message="", values=values)


@dataclass(slots=True)
class BatchRunner:
    """A `sweeps.loop.Runner` over any of Hydra's launchers: gathers `size` jobs and launches them together."""

    launcher: Launcher
    size: int
    directions: int
    _batch: list[Proposal] = field(default_factory=list)
    _index: int = 0

    def free(self) -> int:
        return self.size - len(self._batch)

    def start(self, proposal: Proposal) -> Outcome | None:
        self._batch.append(proposal)
        return None

    def updates(self) -> Iterable[Update]:
        batch, self._batch = self._batch, []
        results = self.launcher.launch([list(proposal.overrides) for proposal in batch], initial_job_idx=self._index)
        self._index += len(batch)
        for proposal, result in zip(batch, results, strict=True):
            yield Update(number=proposal.number, outcome=outcome_of(result, self.directions))

    def stop(self, number: int, reason: Reason, message: str) -> None:
        """A batch cannot be stopped: it ends by itself."""


@dataclass(slots=True)
class StreamRunner:
    """A `sweeps.loop.Runner` over our launcher."""

    launcher: StreamingLauncher
    size: int
    directions: int
    _running: dict[int, int] = field(default_factory=dict)  # Hydra's job number -> trial
    _index: int = 0

    def free(self) -> int:
        return self.size - len(self._running)

    def start(self, proposal: Proposal) -> Outcome | None:
        self.launcher.submit(proposal.overrides, self._index)
        self._running[self._index] = proposal.number
        self._index += 1
        return None

    def updates(self) -> Iterable[Update]:
        for index, result in self.launcher.finished():
            yield Update(number=self._running.pop(index), outcome=outcome_of(result, self.directions))

    def stop(self, number: int, reason: Reason, message: str) -> None:
        """A task function has no step boundary: it ends by itself."""


def _failed(reason: Reason, message: str) -> Outcome:
    return Outcome(state=TrialState.FAIL, reason=reason, message=message)


def _numbers(directions: int) -> str:
    return "one number" if directions == 1 else f"{directions} numbers"

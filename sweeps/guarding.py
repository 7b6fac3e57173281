"""Guards over the trials of a study: they remember what its trials logged, and their verdicts are records, given once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from harness import records
from harness.guards import Peers, Watch, peers_of
from harness.metrics import MetricReader
from harness.paths import AttemptPaths, StudyPaths
from harness.types import GuardRecord, GuardSettings, GuardVerdict, MetricPoint, Reason, TrialState
from sweeps.runner import Outcome


@dataclass(slots=True)
class Guarding:
    """One study's, whoever controls it: a new controller reads what its trials have logged."""

    study: StudyPaths
    settings: GuardSettings
    _peers: Peers = field(init=False)

    def __post_init__(self) -> None:
        self._peers = peers_of(self.settings)
        for trial in self.study.trials()[-self.settings.peers :]:
            for point in _logged(trial.attempts()):
                self._peers.add(trial.number, point)

    def watch(self, attempt: AttemptPaths) -> Watch:
        """Over the trial from this attempt on, with what it logged before."""
        trial = attempt.trial
        watch = Watch.over(trial.number, self.settings, self._peers)
        for point in _logged(trial.attempts()[: attempt.number]):
            watch.add(point)
        for verdict in verdicts(attempt):
            watch.dismiss(verdict.code)
        return watch


def verdicts(attempt: AttemptPaths) -> tuple[GuardVerdict, ...]:
    """Those that were given of the trial, up to this attempt. Raises RecordError."""
    before = (attempt.trial.attempt(number) for number in range(attempt.number + 1))
    found = (records.read_if_there(earlier.guard, GuardRecord) for earlier in before)
    return tuple(verdict for record in found if record is not None for verdict in record.verdicts)


def keep(attempt: AttemptPaths, new: Sequence[GuardVerdict]) -> None:
    """Adds them to the attempt's record, before anything follows from them."""
    known = records.read_if_there(attempt.guard, GuardRecord)
    records.replace(attempt.guard, GuardRecord(verdicts=(*(known.verdicts if known else ()), *new)))
    for verdict in new:
        records.append(attempt.events, "controller", "guarded", code=verdict.code, action=verdict.action)


def outcome(given: Iterable[GuardVerdict]) -> Outcome | None:
    """What becomes of a trial of which that was said; None: it goes on."""
    stop = GuardRecord(verdicts=tuple(given)).stop
    return None if stop is None else Outcome(state=TrialState.PRUNED, reason=Reason.GUARDED, message=stop.message)


def _logged(attempts: Iterable[AttemptPaths]) -> Iterable[MetricPoint]:
    for attempt in attempts:
        yield from MetricReader(attempt.metrics).new_points()

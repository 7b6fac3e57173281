"""Logs a study as a run of its own, in a process beside the controller, which never waits for it.

`python -m sweeps.study_run follow <study folder>` while a controller lives, and to the end that the records then tell.
`python -m sweeps.study_run sync <study folder>`: whatever W&B lacks of it; a line of JSON says what came of it.

It reads what `verl-study watch` reads. Its rows follow from the records, so a writer that was killed costs nothing: offline the next one
writes the run anew in place of the old one, online it goes on behind the rows that W&B has.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import records, study_metrics
from harness.errors import TrackerError, TrackerUnreachable
from harness.paths import StudyPaths
from harness.status import StudyStatus, StudyWatch
from harness.trackers import companion, offline_runs
from harness.trackers.study_run import StudyRun, end_of
from harness.trackers.trial_run import Told
from harness.trial_status import TrialStatus

POLL_S = 5.0
AGAIN_S = 30.0  # after which a server that did not answer is asked again
_SETTLED_S = 1.0  # a trial's end is stamped before it is on disk: one that is younger may have an elder that is not there yet


def start(study: StudyPaths, run: StudyRun) -> None:
    """Beside this controller; a second one waits for the first one's end."""
    study.own_run.root.mkdir(exist_ok=True)
    records.replace(study.own_run.spec, run)
    companion.start("sweeps.study_run", "follow", str(study.root.absolute()), log=study.own_run.log)


def follow(study: StudyPaths) -> None:
    """Returns when no controller lives any more and the run is closed."""
    with _alone(study, wait=True):
        while True:
            try:
                _follow(study, records.read(study.own_run.spec, StudyRun))
                return
            except TrackerUnreachable as error:
                print(time.strftime("%H:%M:%S"), error, flush=True)
                if not StudyWatch(study, details=False).refresh().controller_alive:
                    raise
                time.sleep(AGAIN_S)


def _follow(study: StudyPaths, own: StudyRun) -> None:
    from harness.trackers import wandb_client

    study.own_run.told.unlink(missing_ok=True)  # there will be more of it
    with tempfile.TemporaryDirectory(prefix="wandb-") as elsewhere:
        if own.online:
            wandb_client.Account()  # says at once where nobody answers
        else:
            _clear(study)
        run = wandb_client.begin(own.who, Path(elsewhere) if own.online else study.own_run.root, online=own.online)
        offline_runs.link_study(study)
        watch, log = StudyWatch(study), _Log(run)
        while (status := watch.refresh()).controller_alive:
            log.add(status, settled_at=status.at - _SETTLED_S)
            time.sleep(POLL_S)
        log.add(status, settled_at=status.at)
        log.finish(status)
        wandb_client.close(run, own.who, end_of(status))
        if own.online:
            _note_told(study, own, log.told)


def sync(study: StudyPaths) -> dict[str, Any]:
    """What became of it: `told`, with the number of its rows, or why not."""
    from harness.trackers import wandb_client

    own = records.read_if_there(study.own_run.spec, StudyRun)
    if own is None or study.own_run.told.exists():
        return {"told": False}
    try:
        with _alone(study, wait=False), tempfile.TemporaryDirectory(prefix="wandb-") as folder:
            wandb_client.Account()
            status = StudyWatch(study).refresh()
            run = wandb_client.begin(own.who, Path(folder), online=True)
            log = _Log(run)
            log.add(status, settled_at=status.at)
            log.finish(status)
            wandb_client.close(run, own.who, end_of(status))
            _note_told(study, own, log.told)
    except BlockingIOError:
        return {"told": False}  # its controller lives
    return {"told": True, "rows": log.told}


@dataclass(slots=True)
class _Log:
    """What the run was told so far."""

    run: Any  # wandb's, which takes a second to import: functions that need it import its home
    told: int = 0  # rows, which is to say ended trials
    _live: dict[str, float] = field(default_factory=dict)

    def add(self, status: StudyStatus, *, settled_at: float) -> None:
        """The rows of trials that have ended since, and where the study stands now."""
        from harness.trackers import wandb_client

        ended = [trial for trial in study_metrics.in_order_of_ends(status.trials) if (trial.ended_at or 0.0) <= settled_at]
        due = False
        for count, row in study_metrics.rows(status.record, ended, begin=self.told):
            milestone = study_metrics.is_milestone(count)
            wandb_client.log(self.run, {count: row | (_importance(status, ended[:count]) if milestone else {})})
            self.told, due = count, due or milestone
        if due:
            self._table(status)
        live = study_metrics.row(status.record, status.trials, at=status.record.created_at)  # without what changes with each look
        if live != self._live:
            self.run.summary.update(study_metrics.row(status.record, status.trials, at=status.at))
            self._live = live

    def finish(self, status: StudyStatus) -> None:
        """All trials, also those behind the last milestone."""
        self._table(status)

    def _table(self, status: StudyStatus) -> None:
        """In the summary: a row that was told cannot be told more."""
        from harness.trackers import wandb_client

        rows = [study_metrics.trial_row(status, trial) for trial in status.trials]
        self.run.summary.update({study_metrics.TRIALS: wandb_client.table(study_metrics.trial_columns(status.record.knobs), rows)})


def _importance(status: StudyStatus, ended: Sequence[TrialStatus]) -> dict[str, float]:
    import optuna  # seconds

    from harness import identity
    from sweeps.importance import importance

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    shares = importance(status.record, ended)
    return {f"{study_metrics.IMPORTANCE}/{identity.flat(knob)}": share for knob, share in shares.items()}


def _clear(study: StudyPaths) -> None:
    """What an earlier writer left: all of it is written again."""
    for run in study.own_run.wandb_runs:
        (study.wandb / run.name).unlink(missing_ok=True)
        shutil.rmtree(run)


def _note_told(study: StudyPaths, own: StudyRun, rows: int) -> None:
    records.replace(study.own_run.told, Told(run_id=own.who.id, rows=rows, told_at=time.time()))
    offline_runs.mark_synced(study.own_run.wandb_runs)


@contextmanager
def _alone(study: StudyPaths, *, wait: bool) -> Iterator[None]:
    """Raises BlockingIOError where another process writes the run and `wait` is not asked for."""
    with study.own_run.lock.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


def main(word: str, folder: Path) -> int:
    os.nice(19)  # after every training
    os.environ.setdefault("WANDB_SILENT", "true")
    study = StudyPaths(folder)
    try:
        if word == "follow":
            follow(study)
        else:
            print(json.dumps(sync(study)), flush=True)
    except TrackerError as error:
        print(json.dumps({"error": str(error)}) if word == "sync" else error, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    companion.leave(main(sys.argv[1], Path(sys.argv[2])))

"""Tells W&B of trials, in processes beside the engines: no training and no study ever waits for a network.

`python -m harness.trackers.courier follow <trial folder>` while the trial runs: its rows as they come, the page's stop button, its end.
`python -m harness.trackers.courier whole <trial folder>` afterwards, offline: one run of the whole trial, where its engines left none.
`python -m harness.trackers.courier sync <study folder>`: whatever W&B lacks of the trials that have ended; a line of JSON for each.

All three read the trial's files, so that none of them needs an engine that lives, and each can be killed and begun again: what W&B has
already is asked of W&B. Two never tell of the same trial at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import processes, records
from harness.attempt_watch import AttemptWatch
from harness.errors import TrackerError, TrackerUnreachable
from harness.paths import AttemptPaths, EnginePaths, StudyPaths, TrialPaths
from harness.trackers import companion, offline_runs
from harness.trackers.trial_run import RowReader, Told, end_of, identity_of, rest_of, rows_of
from harness.types import AttemptResult, EngineSpec, Lease, Limits, Reason, Slot, StopRequest

if TYPE_CHECKING:  # wandb takes a second to import, and more to begin
    from harness.trackers.wandb_client import Account

POLL_S = 1.0
STOP_POLL_S = 4.0  # of the page's button: a trial is to stop within 15 s
AGAIN_S = 30.0  # after which a server that did not answer is asked again
LEFT_S = 600.0  # without a sign of a trial, or of a controller that would go on with it
PAUSED_S = 15.0  # after an attempt's end in which a further one is expected


def follow(trial: TrialPaths) -> None:
    """Returns when the trial's run is with the server, or its trial has ended and the server takes nothing."""
    with _telling(trial, wait=True):
        while not trial.told.exists():
            try:
                _follow(trial)
                return
            except TrackerUnreachable as error:
                _note(str(error))
                if end_of(trial) is not None:
                    raise
                time.sleep(AGAIN_S)


def _follow(trial: TrialPaths) -> None:
    from harness.trackers import wandb_client

    who = identity_of(trial)
    if who is None:
        return
    account = wandb_client.Account()
    with tempfile.TemporaryDirectory(prefix="wandb-") as folder:
        run = wandb_client.begin(who, Path(folder), online=True, beside=_slot(trial), stop=lambda: _stop(trial))
        rows, asked_at = RowReader(trial, last=run.starting_step - 1), 0.0
        while (end := end_of(trial)) is None and not _rests(trial):
            wandb_client.log(run, rows.new_rows())
            if time.monotonic() - asked_at > STOP_POLL_S:
                asked_at = time.monotonic()
                if account.is_stopped(run):
                    _stop(trial)
            time.sleep(POLL_S)
        wandb_client.log(run, rows.new_rows(ended=True))
        path = f"{run.entity}/{run.project}/{run.id}"
        wandb_client.close(run, who, end or rest_of(trial))
    account.verify(path, last_step=rows.last)
    if end is not None:
        _note_told(trial, who.id)


def _slot(trial: TrialPaths) -> Slot | None:
    """That of its last attempt."""
    watch = AttemptWatch(trial.attempts()[-1], "")
    watch.follow_events()
    return Slot.named(watch.slot) if watch.slot is not None else None


def _rests(trial: TrialPaths) -> bool:
    """Whether nobody adds to the trial's run for now: it is paused, or was left by its controller."""
    attempts = trial.attempts()
    if not attempts:
        return True  # somebody has removed the study
    result = records.read_if_there(attempts[-1].result, AttemptResult)
    if result is not None:
        return time.time() - result.ended_at > PAUSED_S
    study = StudyPaths(trial.root.parent)
    heard = max((path.stat().st_mtime for path in (attempts[-1].metrics, attempts[-1].events) if path.exists()), default=0.0)
    return time.time() - heard > LEFT_S and not processes.is_alive(records.read_if_there(study.lock, Lease))


def _stop(trial: TrialPaths) -> None:
    """Asks the trial's engine to end at its next step, as `verl-study stop` does."""
    attempt = trial.attempts()[-1]
    request = StopRequest(reason=Reason.USER, message="stopped in W&B", requested_at=time.time(), grace_s=_grace_s(attempt))
    with contextlib.suppress(FileExistsError):
        records.write(attempt.stop, request)


def _grace_s(attempt: AttemptPaths) -> float:
    watch = AttemptWatch(attempt, "")
    watch.follow_events()
    engine = EnginePaths(attempt.trial.root.parent / watch.engine) if watch.engine else None
    command = records.read_if_there(engine.command, EngineSpec) if engine is not None else None
    return (command.limits if command is not None else Limits()).stop_grace_s


def whole(trial: TrialPaths) -> None:
    """Writes an offline run of the whole trial, once, and gives it the place of what its engines left in the study's folder of runs."""
    from harness.trackers import wandb_client

    with _telling(trial, wait=True):
        who, end = identity_of(trial), end_of(trial)
        if who is None or end is None or trial.wandb_runs:
            return
        beside = trial.root / ".wandb.new"  # the run appears whole or not at all
        shutil.rmtree(beside, ignore_errors=True)
        run = wandb_client.begin(who, beside, online=False)
        wandb_client.log(run, rows_of(trial))
        wandb_client.close(run, who, end)
        (beside / "wandb").replace(trial.root / "wandb")
        beside.rmdir()
        offline_runs.link(trial)


def sync(study: StudyPaths, say: Callable[[dict[str, Any]], None]) -> int:
    """Tells W&B what it lacks of every trial that has ended; the number of trials that it could not be told of."""
    from harness.trackers import wandb_client

    account, failed = wandb_client.Account(), 0
    for trial in study.trials():
        if identity_of(trial) is None or trial.told.exists():
            continue
        try:
            rows = _tell(trial, account)
            say({"trial": trial.number, "told": rows is not None, "rows": rows})
        except TrackerError as error:
            failed += 1
            say({"trial": trial.number, "told": False, "error": str(error)})
    return failed


def _tell(trial: TrialPaths, account: Account) -> int | None:
    """The rows that W&B has of the trial now; None where it has not ended, or another process tells of it."""
    from harness.trackers import wandb_client

    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_telling(trial, wait=False))
        except BlockingIOError:
            return None
        who, end = identity_of(trial), end_of(trial)
        if who is None or end is None:
            return None
        rows = rows_of(trial)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="wandb-"))
        run = wandb_client.begin(who, Path(folder), online=True)
        wandb_client.log(run, rows)
        path = f"{run.entity}/{run.project}/{run.id}"
        wandb_client.close(run, who, end)
        account.verify(path, last_step=max(rows, default=-1))
        _note_told(trial, who.id)
        return len(rows)


def _note_told(trial: TrialPaths, run_id: str) -> None:
    records.replace(trial.told, Told(run_id=run_id, rows=len(rows_of(trial)), told_at=time.time()))
    offline_runs.mark_synced((*trial.wandb_runs, *(run for attempt in trial.attempts() for run in attempt.wandb_runs)))


@contextlib.contextmanager
def _telling(trial: TrialPaths, *, wait: bool) -> Iterator[None]:
    """Raises BlockingIOError where another process tells of the trial and `wait` is not asked for."""
    with trial.courier_lock.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


def _note(words: str) -> None:
    print(time.strftime("%H:%M:%S"), words, flush=True)


def _print(line: dict[str, Any] | str) -> None:
    print(json.dumps({"error": line} if isinstance(line, str) else line), flush=True)


def main(word: str, folder: Path) -> int:
    os.nice(19)  # after every training
    os.environ["WANDB_SILENT"] = "true"
    say = _print if word == "sync" else _note
    if importlib.util.find_spec("wandb") is None:
        say("wandb is not installed: pip install 'verl-sweep[cpu]', or [gpu]")
        return 1
    try:
        match word:
            case "follow":
                follow(TrialPaths(folder))
            case "whole":
                whole(TrialPaths(folder))
            case "sync":
                return 1 if sync(StudyPaths(folder), _print) else 0
    except TrackerError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    companion.leave(main(sys.argv[1], Path(sys.argv[2])))

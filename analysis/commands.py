"""The words of `verl-study` that look at studies and steer them; print, and raise ConfigError where what was asked for is not there."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from analysis.find import find_study, find_trial, launched_record
from analysis.programs import become
from harness import records
from harness.errors import ConfigError, RecordError
from harness.lines import Place
from harness.paths import AttemptPaths, StudyPaths
from harness.status import StudyStatus, StudyWatch, find_studies, load_study, load_trial
from harness.terminal import console
from harness.trial_status import TrialStatus, attempt_events, attempts_served, engine_paths, read_quietly
from harness.types import EngineSpec, Limits, Reason, StopRequest, StudyRecord, TrialState

FOLLOW_S = 0.2
_CHUNK = 2**16
_LOOKS_ALONE = 3  # without a living controller before `watch` gives up: one may just be taking over


def list_studies(outputs: Path, *, as_json: bool) -> None:
    studies = sorted(_readable(outputs), key=lambda status: -status.record.created_at)
    if as_json:
        from analysis.export import study_fields, to_json

        print(to_json([study_fields(status) for status in studies]))
        return
    if not studies:
        print(f"no study in {outputs}")
        return
    from analysis.tables import studies_table

    screen = console()
    screen.print(studies_table(studies, screen.width))


def show(outputs: Path, name: str | None, number: int | None, *, as_json: bool) -> None:
    study = find_study(outputs, name)
    if number is not None:
        _show_trial(study, number, as_json=as_json)
        return
    if as_json:
        from analysis.export import study_fields, to_json, trial_fields

        status = load_study(study, details=False)
        print(to_json(study_fields(status) | {"trials": [trial_fields(trial) for trial in status.trials]}))
        return
    from harness.screen import closing

    console().print(closing(load_study(study)))


def _show_trial(study: StudyPaths, number: int, *, as_json: bool) -> None:
    record = records.read(study.record, StudyRecord)
    trial = load_trial(find_trial(study, number), record.objectives, total_steps=record.total_steps)
    if as_json:
        from analysis.export import to_json, trial_fields

        print(to_json(trial_fields(trial)))
        return
    from analysis.tables import trial_block

    console().print(trial_block(study, record, trial))


def watch(outputs: Path, name: str | None, *, interval_s: float) -> None:
    """Returns when the study has ended, when nobody works on it any more, or at Ctrl-C."""
    looks = _looks(StudyWatch(find_study(outputs, name)), interval_s)
    try:
        last = _watch_live(looks) if sys.stdout.isatty() else _watch_lines(looks)
    except KeyboardInterrupt:
        return
    if sys.stdout.isatty():
        from harness.screen import closing

        console().print(closing(last))
    if not last.ended:
        print(f"verl-study: nobody works on {last.record.name} any more; the command that began it goes on with it", file=sys.stderr)


def leet(outputs: Path, name: str | None) -> NoReturn:
    """Becomes wandb's own program, on one folder of links to every offline run that is there now. Raises ConfigError."""
    from harness.trackers import offline_runs

    study = find_study(outputs, name)
    offline_runs.link_study(study)
    if not study.wandb.is_dir() or not any(study.wandb.iterdir()):
        raise ConfigError(f"study {study.name} has no offline W&B run yet; those of tracking.mode=online are on W&B's pages")
    if not sys.stdout.isatty():
        raise ConfigError("watch --leet needs a terminal")
    if importlib.util.find_spec("wandb") is None:
        raise ConfigError("watch --leet needs the package wandb: pip install 'verl-sweep[wandb]'")
    os.execv(sys.executable, [sys.executable, "-m", "wandb", "leet", str(study.wandb)])  # noqa: S606 (no shell, and nothing of ours is left)


def _looks(study: StudyWatch, interval_s: float) -> Iterator[StudyStatus]:
    alone = 0
    while True:
        status = study.refresh()
        yield status
        working = status.controller_alive or status.elsewhere or any(_is_worked_on(trial) for trial in status.trials)
        alone = 0 if working else alone + 1
        if (status.ended and not any(_is_worked_on(trial) for trial in status.trials)) or alone >= _LOOKS_ALONE:
            return
        time.sleep(interval_s)


def _is_worked_on(trial: TrialStatus) -> bool:
    return trial.state is TrialState.RUNNING and not trial.deserted


def _watch_live(looks: Iterator[StudyStatus]) -> StudyStatus:
    """Leaves the last table standing when it is interrupted, and nothing when the study is over: its closing says more."""
    from rich.live import Live

    from harness.screen import Screen

    with Live(console=console(), auto_refresh=False) as live:
        for status in looks:
            live.update(Screen(status, status.at), refresh=True)
        live.transient = True
    return status


def _watch_lines(looks: Iterator[StudyStatus]) -> StudyStatus:
    from harness.wording import changes, summary_line

    before: StudyStatus | None = None
    for status in looks:
        for line in changes(before, status):
            print(line, flush=True)
        before = status
    assert before is not None
    print(summary_line(before), flush=True)
    return before


def logs(outputs: Path, name: str, number: int, *, follow: bool, metrics: bool) -> None:
    study = find_study(outputs, name)
    attempt = _last_attempt(study, number)
    path, start, end = (attempt.metrics, 0, None) if metrics else _log_part(study, attempt)
    if not path.exists() and not follow:
        raise ConfigError(f"trial {number} has written no {'metrics' if metrics else 'log'} yet; -f waits for it")
    place = Place(start)
    _copy(path, place, end)
    while follow and end is None and not (attempt.result.exists() or attempt.trial.result.exists()):
        time.sleep(FOLLOW_S)
        _copy(path, place, None)
    if follow:
        _copy(path, place, end)


def _copy(path: Path, place: Place, end: int | None) -> None:
    """Prints the bytes from the place to `end`, or to where the file ends now; as they are, whatever they are."""
    try:
        log = path.open("rb", buffering=0)
    except FileNotFoundError:
        return
    with log:
        stat = os.fstat(log.fileno())
        if not place.find(stat):
            print(f"verl-study: {path.name} was begun anew", file=sys.stderr)
        log.seek(place.offset)
        left = (stat.st_size if end is None else min(end, stat.st_size)) - place.offset
        while left > 0 and (chunk := log.read(min(_CHUNK, left))):
            sys.stdout.buffer.write(chunk)
            place.offset += len(chunk)
            left -= len(chunk)
    sys.stdout.buffer.flush()


def _log_part(study: StudyPaths, attempt: AttemptPaths) -> tuple[Path, int, int | None]:
    """The engine's log, and from where to where the attempt wrote it: events say so for an engine that serves several."""
    event = next((event for event in attempt_events(attempt) if event.name == "given_slot"), None)
    engine = engine_paths(study, str(event.data.get("engine"))) if event is not None else None
    if engine is None:
        raise ConfigError(f"trial {attempt.trial.number} has not been given an engine yet, so there is no log")
    served = attempts_served(engine)
    folders = [other.root.resolve() for other in served]
    if attempt.root.resolve() not in folders or len(served) == 1:
        return engine.log, 0, None
    index = folders.index(attempt.root.resolve())
    begins = [_log_offset(other) for other in served]
    if begins[index] is None:
        trials = ", ".join(str(other.trial.number) for other in served)
        print(f"verl-study: {engine.root.name} served trials {trials}; this is all of its log", file=sys.stderr)
    return engine.log, begins[index] or 0, begins[index + 1] if index + 1 < len(begins) else None


def _log_offset(attempt: AttemptPaths) -> int | None:
    """The log's size when the attempt was handed over, where the event tells."""
    found = [event.data.get("log_offset") for event in attempt_events(attempt) if event.name == "given_slot"]
    return found[0] if found and isinstance(found[0], int) else None


def _last_attempt(study: StudyPaths, number: int) -> AttemptPaths:
    attempts = find_trial(study, number).attempts()
    if not attempts:
        raise ConfigError(f"trial {number} has not started")
    return attempts[-1]


def stop(outputs: Path, name: str, number: int | None) -> None:
    study = find_study(outputs, name)
    status = load_study(study, details=False)
    if number is not None:
        find_trial(study, number)
        print(_stop_trial(study, next(trial for trial in status.trials if trial.number == number)))
        return
    if status.controller_alive or status.elsewhere:
        _ask(study.stop, grace_s=Limits().stop_grace_s, what=f"study {study.name}")
        print(f"{study.name} starts no further trial, and running ones end at their next training step")
        print("the command that began it goes on with it later")
        return
    running = [trial for trial in status.trials if _is_worked_on(trial)]
    if not running:
        raise ConfigError(f"nobody runs study {study.name}: there is nothing to stop")
    for trial in running:
        print(_stop_trial(study, trial))


def _stop_trial(study: StudyPaths, trial: TrialStatus) -> str:
    if trial.state is not TrialState.RUNNING:
        hint = "it has not started; `verl-study stop` without its number stops the study" if not trial.state.ended else "it has ended"
        raise ConfigError(f"trial {trial.number} is {trial.state}: {hint}")
    if trial.deserted:
        raise ConfigError(f"trial {trial.number}: {trial.message}, so there is nothing to stop")
    engine = engine_paths(study, trial.engine) if trial.engine else None
    command = read_quietly(engine.command, EngineSpec) if engine else None
    grace_s = (command.limits if command else Limits()).stop_grace_s
    _ask(study.trial(trial.number).attempts()[-1].stop, grace_s=grace_s, what=f"trial {trial.number}")
    return f"trial {trial.number} ends at its next training step, or by force after {grace_s:g} s; its slot goes to the next trial"


def _ask(path: Path, *, grace_s: float, what: str) -> None:
    try:
        records.write(path, StopRequest(reason=Reason.USER, message="stopped by the user", requested_at=time.time(), grace_s=grace_s))
    except FileExistsError as error:
        raise ConfigError(f"{what} was already asked to stop") from error


def resume(outputs: Path, name: str) -> NoReturn:
    """Becomes the command that began the study."""
    study = find_study(outputs, name)
    record = launched_record(study)
    own = ("study.name=", "paths.outputs=")
    arguments = [word for word in record.command if not word.startswith(own)]
    become("sweeps.app", *arguments, f"study.name={study.name}", f"paths.outputs={study.root.parent.absolute()}")


def _readable(outputs: Path) -> Iterator[StudyStatus]:
    for study in find_studies(outputs):
        try:
            yield load_study(study, details=False)
        except (OSError, RecordError) as error:
            print(f"verl-study: left out: {error}", file=sys.stderr)

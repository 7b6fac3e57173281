"""What there is to say about a study: which trials to show, how long it will take, what it cost, what to type next; pure."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Callable
from pathlib import Path

from harness import passwords
from harness.status import StudyStatus
from harness.trial_status import TrialStatus
from harness.types import Direction, Objective, Reason, TrialState
from harness.wording import duration


def rows_to_show(status: StudyStatus, rows: int) -> list[TrialStatus]:
    """Running ones before the best one, before those that ended last, before waiting ones; at most `rows`, ascending in number."""
    if len(status.trials) <= rows:
        return list(status.trials)

    def urgency(trial: TrialStatus) -> tuple[int, float]:
        if trial.state is TrialState.RUNNING:
            return 0, -trial.number
        if status.best is not None and trial.number == status.best.number:
            return 1, 0.0
        return (2, -(trial.ended_at or 0.0)) if trial.state.ended else (3, trial.number)

    return sorted(sorted(status.trials, key=urgency)[: max(rows - 1, 1)], key=lambda trial: trial.number)


def trial_left_s(trial: TrialStatus, now: float) -> float | None:
    """How long a training will still take at the pace of its last attempt; None before its first step."""
    done = trial.steps - trial.first_step + 1
    if (
        trial.state is not TrialState.RUNNING
        or trial.deserted
        or not trial.first_step
        or not trial.total_steps
        or trial.training_at is None
    ):
        return None
    return max(now - trial.training_at, 0.0) / done * max(trial.total_steps - trial.steps, 0)


def study_left_s(status: StudyStatus, now: float) -> float | None:
    """How long the study will still take, were all further trials as long as those that ended; None where nothing tells."""
    if status.ended or not status.controller_alive:
        return None
    running = [left for trial in status.trials if (left := trial_left_s(trial, now)) is not None]
    durations = [trial.seconds for trial in status.trials if trial.state.ended and trial.seconds]
    durations = durations or [(trial.seconds or 0.0) + (trial_left_s(trial, now) or 0.0) for trial in status.trials if trial.steps]
    if not durations:
        return None
    if status.full_runs is not None:  # as long as those before, for each full run
        spent = sum(trial.seconds or 0.0 for trial in status.trials)
        work = max(status.record.n_trials - status.full_runs, 0.0) * spent / status.full_runs if status.full_runs else sum(running)
    else:
        to_come = max(status.record.n_trials - status.told - status.counts[TrialState.RUNNING], 0)
        work = sum(running) + to_come * sum(durations) / len(durations)
    return max([work / max(len(status.record.slots), 1), *running])


def cost_line(status: StudyStatus) -> str:
    """`1h12m wall clock, 3h05m of trials on 4 slots, 12 % of it start-up, 6.2 GPU-hours`"""
    trials_s = sum(trial.seconds or 0.0 for trial in status.trials)
    slots = len(status.record.slots)
    words = [f"{duration(status.elapsed_s)} wall clock", f"{duration(trials_s)} of trials on {slots} slot{'s' if slots != 1 else ''}"]
    if status.startup_share is not None:
        words.append(f"{100 * status.startup_share:.0f} % of that start-up")
    warm, began = sum(trial.warm for trial in status.trials), sum(trial.startup_s is not None for trial in status.trials)
    if warm:
        words.append(f"{warm} of {began} trials on an engine that was running")
    gpu_hours = sum(trial.gpu_seconds for trial in status.trials) / 3600
    if gpu_hours or any(slot.gpus for slot in status.record.slots):
        words.append(f"{gpu_hours:.2f} GPU-hours")
    return ", ".join(words)


def latest_and_best(trial: TrialStatus, objective: Objective) -> tuple[float | None, float | None]:
    """The objective's number where the trial ended with one, else its last value; and the best value on its curve."""
    pick: Callable[[list[float]], float] = max if objective.direction is Direction.MAXIMIZE else min
    finite = [value for _, value in trial.curve if math.isfinite(value)]
    latest = trial.values[0] if trial.values else trial.curve[-1][1] if trial.curve else None
    return latest, pick(finite) if finite else None


def failures(status: StudyStatus) -> dict[tuple[str, str], list[int]]:
    """(reason, message) of all that failed or was deserted, with the numbers of the trials that share them."""
    found: dict[tuple[str, str], list[int]] = {}
    for trial in status.trials:
        if trial.state is TrialState.FAIL or trial.deserted:
            found.setdefault((str(trial.reason or ""), one_line(trial.message)), []).append(trial.number)
    return found


def untold(trial: TrialStatus) -> str:
    """The trial's message where its state and reason do not say it already."""
    return "" if trial.reason is Reason.FINISHED else one_line(trial.message)


def one_line(text: str) -> str:
    return " ".join(text.split())


def numbers(trials: list[int], at_most: int = 8) -> str:
    """`3, 5, 9` or `3, 5, 9 and 12 more`"""
    shown = ", ".join(str(number) for number in trials[:at_most])
    return shown if len(trials) <= at_most else f"{shown} and {len(trials) - at_most} more"


def next_commands(status: StudyStatus) -> list[tuple[str, str]]:
    """What to type next, and what it is good for."""
    paths, name = status.paths, shlex.quote(status.record.name)
    outputs = Path(os.path.relpath(paths.root.parent))
    tool = "verl-study" if str(outputs) == "outputs" else f"verl-study --outputs {shlex.quote(str(outputs))}"
    commands = [(f"{tool} watch {name}", "its table" if status.ended else "follow it live")]
    commands.append((f"{tool} show {name}", "this summary again; add a trial's number for that trial"))
    launched = not status.record.made_of
    if status.best is not None and launched:
        commands.append((f"{tool} repro {status.best.number} --study {name}", "the command that runs the best trial again, alone"))
    commands.append((f"{tool} report {name}", "the whole report, a page and Markdown"))
    if launched:
        commands.append((f"optuna-dashboard {_storage(status)}", "Optuna's own plots"))
    wandb = _wandb_folder(status)
    if wandb is not None:
        commands.append((f"wandb leet {shlex.quote(os.path.relpath(wandb))}", "W&B's curves in the terminal, offline"))
        commands.append((f"{tool} sync {name}", "tells W&B whatever it lacks of the study"))
    return commands


def _storage(status: StudyStatus) -> str:
    """The journal's path, or the URL of a shared storage without its password."""
    if status.paths.journal.exists() or "://" not in status.record.storage:
        return shlex.quote(os.path.relpath(status.paths.journal))
    return shlex.quote(passwords.address(status.record.storage))


def _wandb_folder(status: StudyStatus) -> Path | None:
    """Where `wandb leet` finds runs: it looks into one folder of runs, and not below."""
    return status.paths.wandb if status.paths.wandb.is_dir() else None

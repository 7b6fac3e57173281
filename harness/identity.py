"""What a trial's run is called in an experiment tracker: its tags, its flat configuration, how it ended; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from harness.types import AttemptResult, Objective, Reason, RunState, TrialResult, TrialSpec, TrialState

_MARK = "harness/"  # of the keys of ours among verl's
VALUE = f"{_MARK}value"  # the objective's number, in the summary of a trial that has one
_TAG_LENGTH = 64  # W&B takes no longer one
_FAILED, _SIGNAL = 1, 128  # exit statuses, as a shell has them
_TOLD = ("study", "trial", "configuration", "seed", "role", "objective")  # flat keys that are no knobs


def tags(trial: TrialSpec, tree: Mapping[str, Any]) -> tuple[str, ...]:
    """What a page of runs is filtered by, before it is known how the trial ends; `tree` is verl's resolved configuration."""
    found = (trial.study, algorithm(tree), policy(tree), trial.role.value, f"configuration-{trial.configuration}", f"seed-{trial.seed}")
    return unique(found)


def ending_tags(state: TrialState, reason: Reason, codes: Sequence[str] = ()) -> tuple[str, ...]:
    """State, reason, and the guards that fired."""
    return unique((state.value.lower(), reason.value, *codes))


def unique(words: Sequence[str]) -> tuple[str, ...]:
    """Without what comes twice, or is nothing."""
    return tuple(dict.fromkeys(word[:_TAG_LENGTH] for word in words if word))


def configuration(trial: TrialSpec, objectives: Sequence[Objective]) -> dict[str, Any]:
    """Flat keys beside verl's tree: tables and panels group by them.

    A dot in a path becomes a slash, for W&B reads a dot as a step down.
    """
    goals = [f"{objective.direction.value} {objective.metric}" for objective in objectives]
    told = {
        "study": trial.study,
        "trial": trial.number,
        "configuration": trial.configuration,
        "seed": trial.seed,
        "role": trial.role.value,
        "objective": ", ".join(goals),
    }
    return {**{flat(name): value for name, value in trial.params.items()}, **told}


def is_ours(config: Mapping[str, Any]) -> bool:
    """Whether a run's configuration in a tracker is that of a trial."""
    return all(name in config for name in _TOLD)


def point(config: Mapping[str, Any]) -> dict[str, Any]:
    """The trial's params, read back from its run's configuration: verl's tree has sections only at its root."""
    found = {name.replace("/", "."): value for name, value in config.items() if name not in _TOLD and not isinstance(value, Mapping)}
    return dict(sorted(found.items()))  # trackers keep no order


def tree(config: Mapping[str, Any]) -> dict[str, Any]:
    """What is verl's of it."""
    return {name: value for name, value in config.items() if isinstance(value, Mapping)} if is_ours(config) else dict(config)


def notes(trial: TrialSpec) -> str:
    """One line for people."""
    knobs = ", ".join(f"{name}={value}" for name, value in trial.params.items())
    return f"trial {trial.number} of study {trial.study}: {knobs}"


def algorithm(tree: Mapping[str, Any]) -> str:
    """Told apart by a policy loss of its own, by prompts without a signal being replaced, else by the estimator of advantages."""
    loss = tree.get("actor_rollout_ref", {}).get("actor", {}).get("policy_loss", {}).get("loss_mode", "vanilla")
    if loss not in (None, "vanilla"):
        return str(loss)
    own = tree.get("algorithm", {})
    if (own.get("filter_groups") or {}).get("enable"):
        return "dapo"
    estimator = str(own.get("adv_estimator", ""))
    return "ppo" if estimator == "gae" else estimator


def policy(tree: Mapping[str, Any]) -> str:
    """The name of the model's folder, or its name on a hub."""
    return PurePath(str(tree.get("actor_rollout_ref", {}).get("model", {}).get("path", ""))).name


def state_of(state: RunState, reason: Reason) -> TrialState:
    """What the end of an attempt makes of its trial, as far as that alone tells."""
    if state is RunState.SUCCEEDED:
        return TrialState.COMPLETE
    if state is RunState.STOPPED and reason.goes_on:
        return TrialState.WAITING
    return TrialState.PRUNED if state is RunState.STOPPED and reason in (Reason.PRUNED, Reason.GUARDED) else TrialState.FAIL


def exit_code(state: TrialState, attempt: AttemptResult | None) -> int:
    """0 for what ended as somebody wished; else the engine's own, where it is known, as a shell would tell it."""
    if state is not TrialState.FAIL or (attempt is not None and attempt.reason in (Reason.USER, Reason.INTERRUPTED)):
        return 0
    code = attempt.exit_code if attempt is not None else None
    if code is not None and code < 0:
        return _SIGNAL - code
    return code or _FAILED


def summary(state: TrialState, reason: Reason, message: str, result: TrialResult | None) -> dict[str, Any]:
    """Of the run, beside the last values of verl's metrics."""
    told: dict[str, Any] = {"state": state.value, "reason": reason.value, "message": message}
    if result is not None:
        told |= {"seconds": result.seconds, "gpu_seconds": result.gpu_seconds, "attempts": result.attempts}
        told |= {"value": result.values[0]} if result.values else {}
        told |= {"failure": result.failure.value} if result.failure else {}
    return {_MARK + name: value for name, value in told.items()}


def read_end(told: Mapping[str, Any]) -> tuple[TrialState, Reason, str] | None:
    """State, reason and message, read back from a run's summary; None where the trial has not ended, or none of ours wrote it."""
    try:
        state, reason = TrialState(told[f"{_MARK}state"]), Reason(told[f"{_MARK}reason"])
    except (KeyError, ValueError):
        return None
    return (state, reason, str(told.get(f"{_MARK}message", ""))) if state.ended else None


def read_seconds(told: Mapping[str, Any], name: str) -> float | None:
    """`seconds` or `gpu_seconds`, read back from a run's summary."""
    value = told.get(f"{_MARK}{name}")
    return float(value) if isinstance(value, int | float) else None


def flat(name: str) -> str:
    """A knob's name among the flat keys."""
    return name.replace(".", "/")

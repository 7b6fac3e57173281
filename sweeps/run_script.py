"""A resolved verl configuration as a script or a yaml that starts verl itself; pure. Names only what differs from verl's own defaults."""

from __future__ import annotations

import copy
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from harness import preflight
from harness.errors import ConfigError
from harness.fingerprint import leaves
from harness.preflight import Severity
from sweeps.space import render_value

OWN_CODE = ("harness.", "pkg://harness.")  # values that name a module of ours
# Of ours that a plain verl does without: the same answers each time, a shorter wait, faster log-probabilities.
GPU_ENGINES = "harness.inside.fsdp_cuda"
OPTIONAL = (
    "actor_rollout_ref.rollout.agent.agent_loop_manager_class",
    "trainer.v1.sampler.custom_sampler.path",
    "trainer.v1.sampler.custom_sampler.name",
)
ORDER = ("algorithm", "data", "actor_rollout_ref.model", "actor_rollout_ref.actor", "actor_rollout_ref.ref", "actor_rollout_ref.rollout")
LAST = ("critic", "reward", "trainer")
ENTRY = "verl.trainer.main_ppo"
TREES = "verl.trainer.config"  # the package where Hydra finds them
PLAIN_TREE = "ppo_trainer"  # verl's entry point takes it unless it is told otherwise
_PATH = re.compile(r"/[A-Za-z0-9_./-]+")  # which Hydra reads without quotes
_MISSING = object()


def changes(tree: Mapping[str, Any], defaults: DictConfig) -> dict[str, Any]:
    """By dotted key what turns verl's tree of defaults into `tree`, but for what is ours and for what verl ignores in it.

    What follows by one of verl's own interpolations is left to it. Raises ConfigError where verl alone cannot run the configuration.
    """
    left_out = {*OPTIONAL, *ignored(tree)}
    wanted = {key: value for key, value in leaves(tree) if key not in left_out and value != GPU_ENGINES}
    _refuse_own_code(wanted)
    raw = _plain(defaults, resolve=False)
    own = dict(leaves(raw))
    derived = tuple(key for key, value in own.items() if isinstance(value, str) and "${" in value)
    free = {key: value for key, value in wanted.items() if not _lies_in(key, derived)}
    said = {key: value for key, value in free.items() if _is_to_be_said(value, own.get(key, _MISSING))}
    follows = _resolved(defaults, said)
    said |= {key: value for key, value in wanted.items() if key not in free and follows.get(key, _MISSING) != value}
    return {key: said[key] for key in sorted(said, key=_place)}


def overrides(changed: Mapping[str, Any], defaults: DictConfig) -> tuple[str, ...]:
    """The same as Hydra's overrides."""
    raw = _plain(defaults, resolve=False)
    return tuple(f"{'' if _exists(raw, key) else '+'}{key}={_text(value)}" for key, value in changed.items())


def ignored(tree: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys that verl does not read with this configuration: a critic's where there is none."""
    findings = preflight.dead_knobs(tree, (key for key, _ in leaves(tree)))
    return tuple(finding.key for finding in findings if finding.severity is Severity.REFUSE)


def script(tree_name: str, arguments: Sequence[str], *, name: str, remarks: Sequence[str], home: Path) -> str:
    """A POSIX shell script in the manner of verl's own examples; more overrides can be handed to it."""
    config = [] if tree_name == PLAIN_TREE else [f"--config-name={tree_name}"]
    run = [f"{key}={value}" for key, value in _of_run(name).items()]
    words = [f"python3 -m {ENTRY}", *(_quoted(argument, home) for argument in (*config, *arguments, *run)), '"$@"']
    head = ["#!/bin/sh", *_comments(remarks), "set -x", ""]
    return "\n".join([*head, " \\\n    ".join(words)]) + "\n"


def document(tree_name: str, changed: Mapping[str, Any], *, name: str, file: str, remarks: Sequence[str], home: Path) -> str:
    """A yaml that verl's own entry point takes as its configuration; the command stands at its head. `file`: its name without .yaml."""
    command = f'python3 -m {ENTRY} --config-path="$PWD" --config-name={shlex.quote(file)}'
    tree: dict[str, Any] = {"defaults": [tree_name, "_self_"], "hydra": {"searchpath": [f"pkg://{TREES}"]}}
    for key, value in {**changed, **_of_run(name)}.items():
        node, *parents = tree, *key.split(".")[:-1]
        for parent in parents:
            node = node.setdefault(parent, {})
        node[key.rpartition(".")[2]] = _at_home(value, home)
    text: str = yaml.safe_dump(tree, sort_keys=False, width=140, allow_unicode=True)
    return "\n".join([*_comments([*remarks, f"In this file's folder: {command}"]), text])


def _of_run(name: str) -> dict[str, str]:
    """verl's defaults are shared, and it resumes by them."""
    return {"trainer.project_name": name, "trainer.experiment_name": name}


def _comments(remarks: Iterable[str]) -> list[str]:
    return [f"# {' '.join(remark.split())}" for remark in remarks]


def _refuse_own_code(wanted: Mapping[str, Any]) -> None:
    own = [key for key, value in wanted.items() if isinstance(value, str) and value.startswith(OWN_CODE) and not _is_reward(key)]
    if own or wanted.get("trainer.device") == "cpu" or wanted.get("actor_rollout_ref.rollout.name") == "hf":
        raise ConfigError(
            f"{own[0] if own else 'actor_rollout_ref.rollout.name'}: verl alone does not train on a CPU; "
            "export with resources=gpu_1 rollout=vllm, or run it by verl-sweep"
        )


def _is_reward(key: str) -> bool:
    """Scores of ours need this package beside verl, and nothing of how it runs."""
    return key == "reward.custom_reward_function.path"


def _is_to_be_said(value: Any, default: Any) -> bool:
    if default is _MISSING:
        return value is not None and value != {}  # a key that verl's dataclasses have and its yaml does not: null is their default
    return bool(value != default)


def _lies_in(key: str, places: Collection[str]) -> bool:
    """Whether a key is one of these places, or below one."""
    return any(key == place or key.startswith(f"{place}.") for place in places)


def _resolved(defaults: DictConfig, said: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves of verl's tree with some of them set."""
    changed = copy.deepcopy(defaults)
    for key, value in said.items():
        OmegaConf.update(changed, key, value, force_add=True)
    return dict(leaves(_plain(changed, resolve=True)))


def _plain(tree: DictConfig, *, resolve: bool) -> dict[str, Any]:
    plain = OmegaConf.to_container(tree, resolve=resolve, throw_on_missing=False)
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}


def _exists(tree: Mapping[Any, Any], key: str) -> bool:
    node: Any = tree
    for name in key.split("."):
        if not isinstance(node, Mapping) or name not in node:
            return False
        node = node[name]
    return True


def _place(key: str) -> tuple[int, str]:
    for place, prefix in enumerate(ORDER):
        if key.startswith(f"{prefix}."):
            return place, key
    root = key.partition(".")[0]
    return len(ORDER) + (1 + LAST.index(root) if root in LAST else 0), key


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{name}:{_text(item)}' for name, item in value.items())}}}"
    return value if isinstance(value, str) and _PATH.fullmatch(value) else render_value(value)


def _quoted(argument: str, home: Path) -> str:
    """For a shell; what lies in this user's home lies in whoever's home runs it."""
    key, _, value = argument.partition("=")
    if value.startswith(f"{home}/"):
        return f'{key}="$HOME"/{shlex.quote(value.removeprefix(f"{home}/"))}'
    return shlex.quote(argument)


def _at_home(value: Any, home: Path) -> Any:
    """Likewise for Hydra; a tuple as a list."""
    if isinstance(value, list | tuple):
        return [_at_home(item, home) for item in value]
    if isinstance(value, str) and value.startswith(f"{home}/"):
        return f"${{oc.env:HOME}}/{value.removeprefix(f'{home}/')}"
    return value

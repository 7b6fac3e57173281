"""Goes through a study's extreme points before anything starts, and refuses what every one of them shows to be wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from harness import gpus, known_metrics, preflight
from harness.errors import ConfigError, HarnessError, PreflightError, SpaceError
from harness.fingerprint import fingerprint, is_hot, leaves, once_only
from harness.memory import GIB, memory, setting_of, shape_of
from harness.preflight import Finding, Severity
from harness.preflight.files import model_shape, ties_embeddings
from harness.preflight.view import View
from harness.types import Objective, Slot
from sweeps.compose import Composer
from sweeps.config import interpolations, trainer_config
from sweeps.space import Space, bare_key

MIB = 2**20
CONTEXTS = 2 * GIB  # of CUDA, in the trainer's process and in the rollout's


def rehearse(
    composer: Composer,
    space: Space,
    objectives: Sequence[Objective],
    *,
    to_be_made: Collection[Path] = (),
    cures: Mapping[str, str] = MappingProxyType({}),
) -> tuple[dict[str, Any], ...]:
    """Returns the trainer's configuration at two opposite corners of the space. Raises ConfigError.

    `to_be_made` holds the folders that are not there yet, but will be; `cures` what this configuration says of a key that is refused. A
    point between the corners may still be refused later, alone and without a slot.
    """
    corners = [corner(space, index) for index in (0, -1)]
    configs = [composer.compose(space.arguments(point)) for point in corners]
    trees = [trainer_config(config) for config in configs]
    _refuse_dead(space, composer, trees)
    for objective in objectives:
        known_metrics.refuse_unknown(objective.metric, trees[0])
    verdicts = [_refused(tree, to_be_made) for tree in trees]
    if all(verdicts):
        added = dict.fromkeys(cures[finding.key] for finding in verdicts[0] if finding.key in cures)
        raise PreflightError("; ".join([*(finding.message for finding in verdicts[0]), *added]), findings=verdicts[0])
    return tuple(trees)


def refuse_oversubscribed(slots: Sequence[Slot], tree: Mapping[str, Any], rollout_share: float) -> None:
    """A trial that would take more of a shared GPU than its part, as far as its model's shape tells. Raises ConfigError."""
    parts = max((slot.parts for slot in slots), default=1)
    if parts == 1:
        return
    if rollout_share >= 1 / parts:
        raise ConfigError(
            f"actor_rollout_ref.rollout.gpu_memory_utilization: {rollout_share:g} of a GPU for the rollout of each of its {parts} slots "
            f"leaves the trainers nothing; expected well below {1 / parts:.2g}, as {0.6 / parts:.2g}"
        )
    view = View(tree)
    shape = shape_of(model_shape(view), tied=ties_embeddings(view))
    if shape is None or not view.fsdp:
        return
    try:
        total = min(device.total for device in gpus.memory(slots[0].gpus)) * MIB
    except HarnessError:
        return  # without a driver nobody can tell
    counted = memory(shape, setting_of(tree, gpu_bytes=total))
    phase, most = max(("learning", counted.learning), ("generating", counted.generating), key=lambda item: item[1])
    if most + CONTEXTS > total / parts:
        raise ConfigError(
            f"resources.slots_per_gpu: a trial takes about {most / GIB:.1f} GiB of its GPU while {phase}, and each of {parts} has "
            f"{total / parts / GIB:.1f}; fewer slots, offload, a smaller gpu_memory_utilization or fewer tokens a micro-batch make room"
        )


def reuse_note(trees: Sequence[Mapping[str, Any]]) -> str:
    """What a launch says about engines: whether its trials can share them. `trees` are opposite corners of the space."""
    reason = once_only(trees[0])
    if reason is not None:
        return f"each trial starts an engine of its own: {reason}"
    if fingerprint(trees[0]) == fingerprint(trees[-1]):
        return "all trials can share an engine: each slot starts once"
    first, last = (dict(leaves(tree)) for tree in (trees[0], trees[-1]))
    differ = sorted(key for key in first.keys() | last.keys() if first.get(key) != last.get(key) and not is_hot(key))
    named = ", ".join(differ[:3]) or "which models there are"
    return f"trials that differ in {named} start engines of their own, the others share one"


def corner(space: Space, index: int) -> dict[str, Any]:
    """The point of the lowest values (index 0) or of the highest (-1); first or last choices."""
    return {name: _end(distribution, index) for name, distribution in space.distributions.items()}


def _end(distribution: BaseDistribution, index: int) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[index]
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return (distribution.low, distribution.high)[index]


def _refused(tree: Mapping[str, Any], to_be_made: Collection[Path]) -> tuple[Finding, ...]:
    return tuple(finding for finding in _refusals(preflight.check(tree)) if not _lies_in(to_be_made, dict(leaves(tree)).get(finding.key)))


def _refusals(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity is Severity.REFUSE]


def _lies_in(folders: Collection[Path], value: object) -> bool:
    """Whether a value is a path in one of the folders."""
    return isinstance(value, str) and any(Path(value).expanduser().is_relative_to(folder) for folder in folders)


def _refuse_dead(space: Space, composer: Composer, trees: Sequence[Mapping[str, Any]]) -> None:
    """A knob that is swept or was set by hand, and that the chosen configuration ignores at every corner."""
    acts_on = interpolations(composer.base)
    named = [*(bare_key(name) for name in space.distributions), *_set_by_hand(space.fixed)]
    for name in named:
        keys = acts_on.get(name, ()) if "." not in name else (name,)
        if not keys and name in composer.base and _is_short_name(name, composer):
            raise SpaceError(
                f"{name}: nothing in the configuration follows it: verl's own key was set beside it, or this algorithm does not use it"
            )
        dead = [_refusals(preflight.dead_knobs(tree, keys)) for tree in trees]
        if keys and all(len(findings) == len(keys) for findings in dead):
            raise SpaceError(f"{name} would change nothing: {dead[0][0].message}")


def _set_by_hand(fixed: Iterable[str]) -> list[str]:
    keys = [bare_key(line.partition("=")[0]) for line in fixed if "=" in line and not line.startswith("~")]
    return [key for key in keys if "@" not in key and "/" not in key and not key.startswith("hydra.")]


def _is_short_name(name: str, composer: Composer) -> bool:
    """A scalar at the root is a knob; a mapping there is a section, of verl's or ours."""
    return not isinstance(composer.base[name], Mapping) and not hasattr(composer.base[name], "keys")

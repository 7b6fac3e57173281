"""Verl's configurations of several trainings to what was varied between them: the point and the seed of each; pure.

A knob is a key whose value differs between the runs, and that changes what is learned. What differs by its nature is none: names,
places, ports, where and how fast things are computed. Seeds are seeds. verl copies some values to several keys (`rollout.n` to four):
keys with the same values in every run are one knob. So are all keys that another version of verl has added.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from harness import passwords
from harness.fingerprint import PER_ATTEMPT, leaves
from harness.nearest import OFTEN_MEANT
from harness.plain import plain
from harness.repairs import THROUGHPUT
from harness.types import Params

Point = tuple[Params, int | None]

_SHORT_NAMES = Path(__file__).resolve().parents[2] / "conf" / "knobs.yaml"
_SECRET = ("*api_key", "*password", "*secret*", "*credential*", "*access_token", "*auth_token", "*hf_token", "*.token")
_PLACES = (
    "ray_kwargs.*",
    "*_dir",
    "*.dump_dir",
    "*_port",
    "*.port",
    "*address",
    "*hostname",
    "*.save_path",
    "*.prometheus.*",
    "*cache_path",
)
_WATCHING = (
    "trainer.logger",
    "trainer.*_freq",
    "trainer.val_before_train",
    "trainer.log_val_generations",
    "trainer.max_*_ckpt_to_keep",
    "trainer.v1.sampler.custom_sampler.*",  # how a batch is waited for
    "*checkpoint*",
    "*profiler*",
    "*.trace.*",
)
_SPEED = (
    *THROUGHPUT,
    "trainer.nnodes",
    "trainer.device",
    "*nccl_timeout",
    "trainer.ray_wait_register_center_timeout",
    "*n_gpus_per_node",
    "*.nnodes",
    "*_workers",
    "*micro_batch_size*",
    "*max_token_len_per_gpu",
    "*offload*",
    "*parallel_size",
    "*fsdp_size",
    "*gpu_memory_utilization",
    "*max_num_seqs",
    "*max_num_batched_tokens",
    "*enforce_eager",
    "*free_cache_engine",
    "*enable_gradient_checkpointing",
    "*use_dynamic_bsz",
    "*use_remove_padding",
    "transfer_queue.*",
)
_NO_KNOBS = (*PER_ATTEMPT, *_SECRET, *_PLACES, *_WATCHING, *_SPEED, "*_target_")  # that last is the class that reads a section
# The first of these that differs is the seed. verl gives the others 42 where nobody set them, and this one nothing.
_SEEDS = (
    "data.seed",
    "actor_rollout_ref.actor.data_loader_seed",
    "actor_rollout_ref.rollout.seed",
    "actor_rollout_ref.actor.fsdp_config.seed",
)


def points(configs: Sequence[Mapping[str, Any]]) -> list[Point]:
    """Of each run; a seed is None where no configuration names one."""
    tables = [{key: _value(value) for key, value in leaves(config)} for config in configs]
    keys = list(dict.fromkeys(key for table in tables for key in table))
    seed = _seed_key(tables)
    knobs = _knobs(keys, tables)
    return [({knob: table.get(knob) for knob in knobs}, _whole(table.get(seed))) for table in tables]


def _knobs(keys: Sequence[str], tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """One of each set of keys that have the same values, by their names: W&B keeps no order."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for key in keys:
        values = _distinct(key, tables)
        if len(set(values)) > 1 and not _is_seed(key) and not any(fnmatchcase(key, pattern) for pattern in _NO_KNOBS):
            alike.setdefault(values, []).append(key)
    short = _keys_with_short_names() if alike else frozenset()
    return sorted(min(same, key=lambda key: (key not in short, *_prominence(key))) for same in alike.values())


def _distinct(key: str, tables: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Each run's value. Of a key that some lack and that is the same in the rest, only who has it: another version of verl has many."""
    values = tuple(repr(table[key]) if key in table else "" for table in tables)
    differs = len(set(values) - {""}) > 1
    return values if differs else tuple("there" if value else "" for value in values)


def _prominence(key: str) -> tuple[int, int]:
    """Fewer steps down, then where people look first."""
    places = [place for place, part in enumerate(OFTEN_MEANT) if key.startswith(part)]
    return key.count("."), min(places, default=len(OFTEN_MEANT))


def _keys_with_short_names() -> frozenset[str]:
    """Those that conf/knobs.yaml leads a short name to."""
    tree = yaml.safe_load(_SHORT_NAMES.read_text(encoding="utf-8"))
    return frozenset(key for key, value in leaves(tree) if str(value).startswith("${"))


def _seed_key(tables: Sequence[Mapping[str, Any]]) -> str:
    differing = (key for key in _SEEDS if len({_whole(table.get(key)) for table in tables}) > 1)
    return next(differing, _SEEDS[0])


def _is_seed(key: str) -> bool:
    return key.rpartition(".")[2].endswith("seed")


def _value(value: Any) -> Any:
    """As it can be recorded and shown; a list is a value, too: several data files, say."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return passwords.without_passwords(plain(value if isinstance(value, str) else json.dumps(value)))


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def recordable(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without what no file may hold: environments of processes, whatever is called a key, passwords in addresses."""
    return {name: value for name, value in _without_secrets(config).items() if name != "ray_kwargs"}


def _without_secrets(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {name: _without_secrets(value) for name, value in node.items() if not _is_secret(name)}
    if isinstance(node, list):
        return [_without_secrets(value) for value in node]
    return passwords.without_passwords(node) if isinstance(node, str) else node


def _is_secret(name: str) -> bool:
    return any(fnmatchcase(f".{name}".lower(), pattern) for pattern in _SECRET)

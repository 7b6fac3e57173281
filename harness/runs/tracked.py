"""W&B runs as trainings: their rows into files, their configurations into points and seeds, their ends as W&B or their study told them.

verl logs its whole resolved configuration, so that nobody need say what was varied. Runs of this harness say knobs, seed, state and reason
in its own words.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness import identity
from harness.plain import plain
from harness.runs.knobs import Point, points, recordable
from harness.runs.nouns import End, Ending, Page, Told
from harness.trackers.past_runs import FAILED, FINISHED, KILLED, RUNNING, PastRun, by_run, on_disk

_AT_ONCE = min(os.cpu_count() or 1, 8)
_ENDINGS = {FINISHED: Ending.FINISHED, FAILED: Ending.FAILED, KILLED: Ending.STOPPED, RUNNING: Ending.RUNNING}


def stored(stream: Iterable[bytes | PastRun], folder: Path) -> list[tuple[Path, PastRun]]:
    """Each run of a stream with the file of its rows, in the folder."""
    found: list[tuple[Path, PastRun]] = []
    rows = iter(stream)
    while True:
        path = folder / f"{len(found)}.jsonl"
        with path.open("wb") as file:
            for told in rows:
                if isinstance(told, PastRun):
                    found.append((path, told))
                    break
                file.write(told)
            else:
                return found


def stored_logs(logs: Iterable[Path], folder: Path) -> list[tuple[Path, PastRun]]:
    """The same of runs on the disk, in the order in which they began; several at a time, for each takes a second of a processor."""

    def read(numbered: tuple[int, list[Path]]) -> list[tuple[Path, PastRun]]:
        own = folder / str(numbered[0])
        own.mkdir()
        return stored(on_disk(numbered[1]), own)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = [run for runs in pool.map(read, enumerate(by_run(logs))) for run in runs]
    return sorted(found, key=lambda pair: pair[1].began_at)  # their folders are named by the second only


def as_told(runs: Sequence[tuple[Path, PastRun]]) -> list[Told]:
    """What W&B says of each. Where all are this harness's, knobs are those that it swept; else what differs between verl's trees."""
    if all(identity.is_ours(run.config) for _, run in runs):
        return [_told(path, run, (identity.point(run.config), _whole(run.config["seed"])), ours=True) for path, run in runs]
    found = points([identity.tree(run.config) for _, run in runs])
    return [_told(path, run, point, ours=False) for (path, run), point in zip(runs, found, strict=True)]


def _told(path: Path, run: PastRun, point: Point, *, ours: bool) -> Told:
    end, ended_at = identity.read_end(run.summary), run.summary.get("_timestamp")
    return Told(
        name=plain(run.name),
        keys=(run.id, plain(run.name)),
        metrics=path,
        ended_at=float(ended_at) if isinstance(ended_at, int | float) else run.began_at,
        ending=_ENDINGS.get(run.state, Ending.UNKNOWN),
        params=point[0],
        seed=point[1],
        configuration=str(run.config["configuration"]) if ours else "",
        end=End(state=end[0], reason=end[1], message=end[2]) if end is not None else None,
        seconds=identity.read_seconds(run.summary, "seconds"),
        gpu_seconds=identity.read_seconds(run.summary, "gpu_seconds"),
        gpus=_gpus(run.config.get("trainer")),
        config=recordable(identity.tree(run.config)),
        page=Page(entity=run.entity, project=run.project, run_id=run.id) if run.entity else None,
    )


def _gpus(trainer: Any) -> float:
    """That verl was given, as its configuration says."""
    if not isinstance(trainer, Mapping) or trainer.get("device") == "cpu":
        return 0.0
    of_node, nodes = trainer.get("n_gpus_per_node"), trainer.get("nnodes", 1)
    return float(of_node * nodes) if isinstance(of_node, int) and isinstance(nodes, int) else 0.0


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None

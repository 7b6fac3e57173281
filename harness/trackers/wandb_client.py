"""W&B's own client, told of a trial's run: begins it or goes on with it, logs rows, closes it, asks the server what it has.

Runs in processes of their own, for it may wait for a network. Nobody is asked for a key: where there is none, it refuses.
"""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from harness import identity
from harness.errors import TrackerError, TrackerUnreachable
from harness.trackers.past_runs import AskedRuns, PastRun, moment, verl_line
from harness.trackers.trial_run import End, Identity
from harness.types import Slot

_BEGIN_S, _FINISH_S, _ANSWER_S, _SETTLE_S = 20.0, 120.0, 10.0, 30.0
# By the name under which W&B's client has long asked whether the page's stop button was pressed.
_STOPPED = "query RunStoppedStatus($entity: String, $project: String, $run: String!) { " + (
    "project(name: $project, entityName: $entity) { run(name: $run) { stopped } } }"
)


class Account:
    """The server and the key that the environment, netrc or wandb's settings name."""

    def __init__(self) -> None:
        """Raises TrackerError without a key, TrackerUnreachable where nobody answers."""
        settings = wandb.setup().settings
        self._url = str(settings.base_url).rstrip("/")
        self._reach()
        try:
            api = wandb.Api(timeout=int(_ANSWER_S))
        except wandb.errors.UsageError as error:
            raise TrackerError(f"there is no key for W&B at {self._url}: set WANDB_API_KEY, or run `wandb login`") from error
        except (wandb.errors.Error, ValueError) as error:  # the client does not say whether key or server is to blame
            raise TrackerUnreachable(f"W&B at {self._url} does not let us in: {' '.join(str(error).split())}") from error
        self._key = api.api_key
        self._api = api

    def _reach(self) -> None:
        try:
            urllib.request.urlopen(self._url, timeout=_ANSWER_S).close()  # noqa: S310 (W&B's own setting)
        except urllib.error.HTTPError as error:
            error.close()  # it answers
        except OSError as error:
            raise TrackerUnreachable(f"W&B at {self._url} does not answer: {error}") from error

    @property
    def default_entity(self) -> str:
        """The key's own."""
        return str(self._api.default_entity)

    def new_sweep(self, config: Mapping[str, Any], *, entity: str, project: str) -> str:
        """The id of a sweep object. Raises TrackerError."""
        try:
            return str(wandb.sweep(dict(config), entity=entity, project=project))
        except Exception as error:  # the client's own have no common root
            raise TrackerError(f"W&B takes no sweep: {' '.join(str(error).split())}") from error

    def past_runs(self, asked: AskedRuns) -> Iterator[bytes | PastRun]:
        """Of each run, the oldest first, every row of its history as verl's line, and then itself. Raises TrackerError."""
        wanted = {name: value for name, value in (("group", asked.group), ("tags", asked.tag)) if value}
        try:
            for run in self._api.runs(f"{asked.entity}/{asked.project}", filters=wanted, order="+created_at", lazy=False):
                rows = run.scan_history(use_cache=False)  # all of them, where `history` would give a sample
                yield from (line for row in rows if (line := verl_line(row)) is not None)
                yield _past(asked, run)
        except Exception as error:  # the client's own have no common root
            raise TrackerError(f"W&B does not give the runs of {asked.entity}/{asked.project}: {' '.join(str(error).split())}") from error

    def is_stopped(self, run: wandb.Run) -> bool:
        """Whether somebody wants the run to stop; False where the server does not say, for the client asks too, in its own way."""
        variables = {"entity": run.entity, "project": run.project, "run": run.id}
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Basic {base64.b64encode(f'api:{self._key}'.encode()).decode()}"
        body = json.dumps({"query": _STOPPED, "variables": variables}).encode()
        try:
            request = urllib.request.Request(f"{self._url}/graphql", body, headers)  # noqa: S310
            with urllib.request.urlopen(request, timeout=_ANSWER_S) as reply:  # noqa: S310
                told = json.load(reply)
            return bool(told["data"]["project"]["run"]["stopped"])
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def verify(self, path: str, *, last_step: int) -> None:
        """Raises TrackerError where the server does not have the run, closed and up to its last step, after half a minute."""
        deadline = time.monotonic() + _SETTLE_S
        while True:
            try:
                run = wandb.Api(timeout=int(_ANSWER_S)).run(path)
                step, state = run.lastHistoryStep, run.state
            except (wandb.errors.Error, ValueError) as error:
                raise TrackerUnreachable(f"W&B does not say what it has of {path}: {error}") from error
            if step >= last_step and state != "running":
                return
            if time.monotonic() > deadline:
                raise TrackerError(f"W&B has {path} up to step {step}, {state}; expected step {last_step} of a run that has ended")
            time.sleep(1.0)


def _past(asked: AskedRuns, run: Any) -> PastRun:
    return PastRun(
        id=run.id,
        name=run.name or run.id,
        entity=asked.entity,
        project=asked.project,
        group=run.group or "",
        tags=tuple(run.tags or ()),
        config=dict(run.config),
        summary=dict(run.summary_metrics or {}),
        state=run.state,
        began_at=moment(run.created_at or ""),
    )


def begin(who: Identity, folder: Path, *, online: bool, beside: Slot | None = None, stop: Callable[[], None] | None = None) -> wandb.Run:
    """Raises TrackerUnreachable.

    `beside`: the client also logs what this host's processors do, and the GPUs of that slot. `stop`: what the client calls, in a thread,
    when it learns that somebody wants the run to stop; it asks rarely.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(
        console="off",
        silent=True,
        disable_git=True,
        init_timeout=_BEGIN_S,
        finish_timeout=_FINISH_S,
        finish_timeout_raises=True,
        stop_fn=stop or _go_on,  # its own way is to interrupt this process
        x_disable_stats=beside is None,
        x_stats_gpu_device_ids=[int(gpu) for gpu in beside.gpus if gpu.isdigit()] if beside is not None and beside.gpus else None,
        x_disable_meta=True,
        x_save_requirements=False,
        sweep_id=who.sweep,
    )
    try:
        return wandb.init(
            mode="online" if online else "offline",
            entity=who.entity,
            project=who.project,
            id=who.id,
            name=who.name,
            group=who.group,
            job_type=who.job_type,
            tags=who.tags,
            notes=who.notes,
            config=who.config,
            resume="allow",
            reinit="finish_previous",
            dir=folder,
            settings=settings,
        )
    except wandb.errors.Error as error:
        raise TrackerUnreachable(f"W&B takes no run: {' '.join(str(error).split())}") from error


def _go_on() -> None:
    """Of a trial that has ended there is nothing to stop."""


def log(run: wandb.Run, rows: Mapping[int, Mapping[str, float]]) -> None:
    """Whole rows in rising order; those that the run had before it was gone on with are left out."""
    for step, values in rows.items():
        if step >= run.starting_step:
            run.log(dict(values), step=step, commit=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    """What a run can log in place of a number."""
    return wandb.Table(columns=list(columns), data=[list(row) for row in rows], allow_mixed_types=True)


def close(run: wandb.Run, who: Identity, end: End) -> None:
    """Raises TrackerUnreachable where the rows do not get away in time."""
    tags: Any = identity.unique((*who.tags, *end.tags))
    run.tags = tags
    run.summary.update(end.summary)
    try:
        run.finish(exit_code=end.exit_code)
    except (wandb.errors.Error, TimeoutError) as error:
        raise TrackerUnreachable(f"W&B does not take all of a run: {error}") from error

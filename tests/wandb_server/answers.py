"""The answers to the client's GraphQL, as a tree of plain values and functions of arguments over the store."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from wandb_server.filters import select
from wandb_server.store import EVENTS, HISTORY, Run, Store, Sweep, View

ENTITY = "tests"


class Answers:
    """`root` is what a document's first fields are."""

    def __init__(self, store: Store, url: Callable[[], str]) -> None:
        self._store = store
        self._url = url

    @property
    def root(self) -> dict[str, Any]:
        return {
            "viewer": _viewer(),
            "entity": lambda **_: {"id": ENTITY, "name": ENTITY, "isTeam": False, "organization": None},
            "serverInfo": {"features": [], "cliVersionInfo": None, "latestLocalVersionInfo": None},
            "project": self._project,
            "model": self._project,
            "models": lambda **_: _connection([self._project(entityName=entity, name=name) for entity, name in self._projects()]),
            "view": lambda id, **_: self._view_of(self._store.views.get(id)),
            "upsertModel": lambda input, **_: self._upsert_model(input),
            "upsertBucket": lambda input, **_: self._upsert_run(input),
            "createRunFiles": lambda input, **_: self._create_files(input),
            "markRunFilesUploaded": lambda **_: {"success": True},
            "stopRun": lambda input, **_: self._stop(input["id"]),
            "updateRunState": lambda input, **_: self._set_state(input),
            "deleteRun": lambda input, **_: self._delete_run(input["id"]),
            "upsertView": lambda input, **_: self._upsert_view(input),
            "deleteView": lambda input, **_: {"success": self._store.views.pop(input["id"], None) is not None, "pendingDrafts": 0},
            "upsertSweep": lambda input, **_: self._upsert_sweep(input),
            # As one whose content is known already, of which the client then sends nothing.
            "createArtifact": lambda **_: {
                "artifact": {"id": "artifact-1", "state": "COMMITTED", "artifactSequence": {"latestArtifact": None}}
            },
        }

    # --- projects ------------------------------------------------------------------------------------------------------------------

    def _projects(self) -> list[tuple[str, str]]:
        return sorted({(one.entity, one.project) for one in [*self._store.runs.values(), *self._store.views.values()]})

    def _project(self, *, name: str | None = None, entityName: str | None = None, **_: Any) -> dict[str, Any]:  # noqa: N803 (GraphQL's)
        entity, project = entityName or ENTITY, name or "uncategorized"
        runs, sweeps = self._store.of(entity, project), [one for one in self._store.sweeps.values() if one.project == project]
        views = [one for one in self._store.views.values() if (one.entity, one.project) == (entity, project)]
        return {
            "__typename": "Project",
            "id": f"project-{entity}-{project}",
            "internalId": "1",
            "name": project,
            "entityName": entity,
            "entity": {"id": entity, "name": entity},
            "createdAt": _date(0.0),
            "isBenchmark": False,
            "readOnly": False,
            "runCount": lambda filters=None, **_: len(select(runs, json.loads(filters or "{}"), None)),
            "runs": lambda filters=None, order=None, first=50, after=None, **_: self._runs(runs, filters, order, first, after),
            "run": lambda name, **_: self._found_run(self._store.find(entity, project, name)),
            "bucket": lambda name, **_: self._found_run(self._store.find(entity, project, name)),
            "sweeps": lambda **_: _connection([self._sweep_of(one) for one in sweeps]),
            "totalSweeps": len(sweeps),
            "sweep": lambda sweepName, **_: next((self._sweep_of(one) for one in sweeps if one.name == sweepName), None),  # noqa: N803
            "allViews": lambda viewType=None, viewName=None, **_: _connection(  # noqa: N803
                [self._view_of(one) for one in views if viewType in (None, one.type) and viewName in (None, one.name)]
            ),
        }

    def _upsert_model(self, given: Mapping[str, Any]) -> dict[str, Any]:
        project = self._project(name=given["name"], entityName=given.get("entityName"))
        return {"project": project, "model": project, "inserted": True}

    # --- runs ----------------------------------------------------------------------------------------------------------------------

    def _runs(self, runs: list[Run], filters: str | None, order: str | None, first: int, after: str | None) -> dict[str, Any]:
        found = select(runs, json.loads(filters or "{}"), order)
        begin = int(after or 0)
        page = [self._run_of(run) for run in found[begin : begin + first]]
        return _connection(page, begin=begin, more=begin + first < len(found))

    def _found_run(self, run: Run | None) -> dict[str, Any] | None:
        return self._run_of(run) if run is not None else None

    def _run_of(self, run: Run) -> dict[str, Any]:
        return {
            "id": run.id,
            "name": run.name,
            "projectId": "1",
            "displayName": run.display_name,
            "state": run.state,
            "stopped": run.stop_requested,
            "shouldStop": run.stop_requested,
            "tags": run.tags,
            "group": run.group,
            "groupName": run.group,
            "jobType": run.job_type,
            "notes": run.notes,
            "description": run.notes,
            "config": json.dumps(run.config),
            "summaryMetrics": json.dumps(run.summary),
            "systemMetrics": "{}",
            "historyLineCount": len(run.lines.get(HISTORY, {})),
            "eventsLineCount": len(run.lines.get(EVENTS, {})),
            "logLineCount": 0,
            "historyTail": json.dumps(_tail(run, HISTORY)),
            "eventsTail": json.dumps(_tail(run, EVENTS)),
            "historyKeys": _keys(run),
            "sampledHistory": lambda specs, **_: [_sampled(run, json.loads(spec)) for spec in specs],
            "history": lambda minStep=0, maxStep=2**60, samples=None, **_: [  # noqa: N803 (GraphQL's)
                json.dumps(row) for row in _thinned([row for row in run.rows if minStep <= row.get("_step", 0) < maxStep], samples)
            ],
            "parquetHistory": lambda **_: {"parquetUrls": [], "liveData": run.rows},
            "wandbConfig": lambda **_: json.dumps({"t": 1}),
            "sweepName": run.sweep,
            "sweep": None,
            "commit": None,
            "readOnly": False,
            "createdAt": _date(run.created_at),
            "heartbeatAt": _date(run.heard_at),
            "updatedAt": _date(run.heard_at),
            "user": {"name": ENTITY, "username": ENTITY},
            "project": {"id": "1", "name": run.project, "entity": {"id": run.entity, "name": run.entity}},
            "fileCount": len(run.files),
            "files": lambda **_: _connection([self._file_of(run, name) for name in run.files]),
        }

    def _file_of(self, run: Run, name: str) -> dict[str, Any]:
        url = f"{self._url()}/storage/{run.id}/{name}"
        return {"id": name, "name": name, "url": url, "directUrl": url, "sizeBytes": len(run.files[name]), "mimetype": None}

    def _upsert_run(self, given: Mapping[str, Any]) -> dict[str, Any]:
        run = self._store.runs.get(given.get("id") or "")
        new = run is None
        if run is None:
            run, new = self._store.open(given.get("entityName") or ENTITY, given.get("modelName") or "uncategorized", given["name"])
        told = {
            "display_name": given.get("displayName"),
            "group": given.get("groupName"),
            "job_type": given.get("jobType"),
            "notes": given.get("notes"),
            "tags": given.get("tags"),
            "sweep": given.get("sweep"),
            "config": _decoded(given.get("config")),
            "summary": _decoded(given.get("summaryMetrics")),
        }
        for name, value in told.items():
            if value is not None:
                setattr(run, name, value)
        if given.get("state") or given.get("host"):  # a client that begins, not an edit by the public API
            run.state, run.exit_code = given.get("state") or "running", None
        run.heard_at = time.time()
        return {"bucket": self._run_of(run), "inserted": new}

    def _create_files(self, given: Mapping[str, Any]) -> dict[str, Any]:
        run, _ = self._store.open(given.get("entityName") or ENTITY, given["projectName"], given["runName"])
        files = [{"name": name, "uploadUrl": f"{self._url()}/storage/{run.id}/{name}"} for name in given["files"]]
        return {"runID": run.id, "uploadHeaders": [], "files": files}

    def _stop(self, id: str) -> dict[str, Any]:
        self._store.runs[id].stop_requested = True
        return {"success": True}

    def _set_state(self, given: Mapping[str, Any]) -> dict[str, Any]:
        run = self._store.find(given["entityName"], given["projectName"], given["runName"])
        if run is not None:
            run.state = given["state"].lower()
        return {"success": run is not None}

    def _delete_run(self, id: str) -> dict[str, Any]:
        return {"success": self._store.runs.pop(id, None) is not None, "clientMutationId": None}

    # --- views and sweeps ----------------------------------------------------------------------------------------------------------

    def _upsert_view(self, given: Mapping[str, Any]) -> dict[str, Any]:
        known = self._store.views.get(given.get("id") or "")
        if known is not None:
            known.spec, known.updates = given.get("spec") or known.spec, known.updates + 1
            known.display_name = given.get("displayName") or known.display_name
            return {"view": self._view_of(known), "inserted": False}
        view = View(
            id=f"view-{self._store.number()}",
            entity=given.get("entityName") or ENTITY,
            project=given.get("projectName") or "uncategorized",
            type=given.get("type") or "runs",
            name=given.get("name") or "",
            display_name=given.get("displayName") or "",
            description=given.get("description") or "",
            spec=given.get("spec") or "{}",
        )
        self._store.views[view.id] = view
        return {"view": self._view_of(view), "inserted": True}

    def _view_of(self, view: View | None) -> dict[str, Any] | None:
        if view is None:
            return None
        return {
            "id": view.id,
            "type": view.type,
            "name": view.name,
            "displayName": view.display_name,
            "description": view.description,
            "spec": view.spec,
            "createdAt": _date(0.0),
            "updatedAt": _date(float(view.updates)),
            "user": {"name": ENTITY, "username": ENTITY},
            "project": {"id": "1", "name": view.project, "entityName": view.entity},
            "accessTokens": [],
        }

    def _upsert_sweep(self, given: Mapping[str, Any]) -> dict[str, Any]:
        known = next((one for one in self._store.sweeps.values() if one.id == given.get("id")), None)
        if known is None:
            entity, project = given.get("entityName") or ENTITY, given.get("projectName") or "uncategorized"
            number = self._store.number()
            known = Sweep(id=f"sweep-{number}", entity=entity, project=project, name=f"sweep{number}", config="")
            self._store.sweeps[known.name] = known
        known.config = given.get("config") or known.config
        known.state = given.get("state") or known.state
        return {"sweep": self._sweep_of(known), "configValidationWarnings": []}

    def _sweep_of(self, sweep: Sweep) -> dict[str, Any]:
        runs = [run for run in self._store.of(sweep.entity, sweep.project) if run.sweep == sweep.name]
        return {
            "id": sweep.id,
            "name": sweep.name,
            "displayName": sweep.name,
            "method": "custom",
            "state": sweep.state,
            "description": "",
            "bestLoss": None,
            "config": sweep.config,
            "createdAt": _date(0.0),
            "updatedAt": _date(0.0),
            "heartbeatAt": _date(0.0),
            "runCount": len(runs),
            "runCountExpected": None,
            "priorRuns": _connection([]),
            "controller": None,
            "scheduler": None,
            "project": {"id": "1", "name": sweep.project, "entity": {"id": sweep.entity, "name": sweep.entity}},
            "runs": lambda **_: _connection([self._run_of(run) for run in runs]),
            "agents": _connection([]),
        }


def _viewer() -> dict[str, Any]:
    teams = {"edges": []}
    names = {"id": ENTITY, "entity": ENTITY, "username": ENTITY, "name": ENTITY, "email": None, "admin": False, "deletedAt": None}
    return {**names, "flags": "{}", "teams": teams, "apiKeys": {"edges": []}}


def _connection(nodes: list[Any], *, begin: int = 0, more: bool = False) -> dict[str, Any]:
    """GraphQL's page of a list."""
    edges = [{"node": node, "cursor": str(begin + index + 1)} for index, node in enumerate(nodes)]
    page = {"__typename": "PageInfo", "endCursor": str(begin + len(nodes)), "hasNextPage": more}
    return {"edges": edges, "pageInfo": page, "totalCount": len(nodes)}


def _decoded(text: str | None) -> Any:
    return json.loads(text) if text else None


def _tail(run: Run, name: str) -> list[str]:
    lines = run.lines.get(name, {})
    return [lines[max(lines)]] if lines else []


def _keys(run: Run) -> dict[str, Any]:
    counts: dict[str, int] = {}
    for row in run.rows:
        for name in row:
            counts[name] = counts.get(name, 0) + 1
    keys = {name: {"typeCounts": [{"type": "number", "count": count}], "monotonic": False} for name, count in counts.items()}
    return {"keys": keys, "sets": [], "lastStep": max((row.get("_step", 0) for row in run.rows), default=-1)}


def _sampled(run: Run, spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    keys = spec.get("keys")
    rows = _thinned([row for row in run.rows if not keys or all(key in row for key in keys)], spec.get("samples"))
    return [{key: row[key] for key in keys} if keys else row for row in rows]


def _thinned(rows: list[dict[str, Any]], samples: int | None) -> list[dict[str, Any]]:
    """At most as many as are asked for, evenly: whoever wants all must ask for the whole history."""
    return rows[:: math.ceil(len(rows) / samples)] if samples and rows else rows


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

"""Serves W&B's protocol on loopback: GraphQL, the stream of a run's rows, files; and its own switches under /_test."""

from __future__ import annotations

import base64
import gzip
import json
import math
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from wandb_server import graphql
from wandb_server.answers import Answers
from wandb_server.faults import Drop, Fault, Faults
from wandb_server.store import SUMMARY, Store

KEY = "0123456789abcdef0123456789abcdef01234567"  # the only one that is let in


class WandbServer:
    """A server in threads of this process; `with WandbServer() as server` starts and ends it. What it was told outlives its absences."""

    def __init__(self, port: int = 0) -> None:
        self.store = Store()
        self.faults = Faults()
        self._port = port
        self._http: _Http | None = None

    def __enter__(self) -> WandbServer:
        self.come()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.go()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def environment(self) -> dict[str, str]:
        """Leads a client here."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, "WANDB_ERROR_REPORTING": "false"}

    def come(self) -> None:
        """Starts, or comes back on the port of before."""
        self._http = _Http(("127.0.0.1", self._port), _Handler)
        self._http.served, self._port = self, self._http.server_port
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def go(self) -> None:
        """Disappears: connections are refused from now on, and open ones are ended."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None


class _Http(ThreadingHTTPServer):
    served: WandbServer
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"  # one request a connection: nobody's idle connection outlives the server
    server: _Http

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.path.startswith("/_test/"):
            self._answer(*self._switch(body))
            return
        fault = self.server.served.faults.of(self.path)
        time.sleep(fault.stall_s)
        if fault.drop is Drop.BEFORE:
            return
        status, data = (fault.status, {"error": "on request"}) if fault.status else self._result(body)
        if fault.drop is Drop.NEVER:
            self._answer(status, data)

    def _result(self, body: bytes) -> tuple[int, Any]:
        store, path = self.server.served.store, self.path.split("?")[0]
        if path.startswith("/storage/"):
            return self._file(store, path, body)
        if not self._is_let_in():
            return 401, {"errors": [{"message": "the test server knows no such key"}]}
        if path == "/graphql":
            return self._graphql(store, json.loads(body))
        if path.endswith("/file_stream"):
            entity, project, name = path.split("/")[-4:-1]
            return 200, stream(store, entity, project, name, json.loads(body))
        return 404, {"error": f"the test server has no {path}"}

    def _is_let_in(self) -> bool:
        kind, _, word = self.headers.get("Authorization", "").partition(" ")
        return kind == "Basic" and base64.b64decode(word).decode() == f"api:{KEY}"

    def _graphql(self, store: Store, request: Mapping[str, Any]) -> tuple[int, Any]:
        document = graphql.parse(request["query"])
        store.operations[document.fields[0].name] += 1
        root = Answers(store, lambda: self.server.served.url).root
        unknown = lambda name: store.unknown.update([name])  # noqa: E731
        return 200, {"data": graphql.answer(document, root, request.get("variables") or {}, unknown)}

    def _file(self, store: Store, path: str, body: bytes) -> tuple[int, Any]:
        _, _, run, name = path.split("/", 3)
        if self.command == "PUT":
            store.runs[run].files[name] = body
            return 200, {}
        content = store.runs[run].files.get(name)
        return (404, {}) if content is None else (200, content)

    def _switch(self, body: bytes) -> tuple[int, Any]:
        """For a server in another process."""
        served, word = self.server.served, self.path.removeprefix("/_test/")
        if word == "fault":
            served.faults.set(Fault(**json.loads(body or b"{}")))
            return 200, {}
        if word.startswith("stop/"):
            served.store.run(word.removeprefix("stop/")).stop_requested = True
            return 200, {}
        return 200, summary(served.store)

    def _answer(self, status: int, data: Any) -> None:
        content = data if isinstance(data, bytes) else json.dumps(_strict(data), allow_nan=False).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except ConnectionError:
            pass  # who asked is gone

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""


def stream(store: Store, entity: str, project: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Takes what a run's file stream brings; the answer says whether somebody wants the run to stop."""
    run, _ = store.open(entity, project, name)
    for file, chunk in (body.get("files") or {}).items():
        if file == SUMMARY:
            run.summary = json.loads(chunk["content"][-1])
        else:
            run.append(file, chunk["offset"], chunk["content"])
    if body.get("complete"):
        run.end(body.get("exitcode") or 0)
    run.heard_at = time.time()
    return {"exitcode": None, "limits": {}, "stopped": run.stop_requested}


def summary(store: Store) -> dict[str, Any]:
    """What came, for those who look from outside."""
    runs = {
        run.name: {
            "state": run.state,
            "exit_code": run.exit_code,
            "group": run.group,
            "job_type": run.job_type,
            "tags": run.tags,
            "rows": len(run.rows),
            "received": dict(run.received),
        }
        for run in store.runs.values()
    }
    views = [{"id": view.id, "type": view.type, "name": view.display_name, "updates": view.updates} for view in store.views.values()]
    return {"runs": runs, "views": views, "sweeps": sorted(store.sweeps), "operations": store.operations, "unknown": store.unknown}


def _strict(value: Any) -> Any:
    """JSON has no NaN, and the client's reader takes none."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _strict(member) for name, member in value.items()}
    return [_strict(member) for member in value] if isinstance(value, list) else value

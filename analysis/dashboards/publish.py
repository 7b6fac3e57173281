"""Creates a study's workspace and report at W&B, or changes those that are there; the only one that asks a server.

Both are known again by what is sent with them, and by nothing on this host: whoever publishes a study, from wherever, changes
the same pages.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from analysis.dashboards import pages
from analysis.dashboards.facts import Facts
from harness.errors import ConfigError, HarnessError

_TIMEOUT_S = 30  # of one request


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """Where the pages are, and whether they were there before."""

    workspace: str
    report: str
    created: bool


def publish(facts: Facts) -> Published:
    """Raises ConfigError without a key, HarnessError where the server is not there or does not want the pages."""
    os.environ.setdefault("WANDB_SILENT", "true")  # it is for us to say where the pages are
    import wandb

    try:
        api = wandb.Api(timeout=_TIMEOUT_S)
        return _publish(facts, facts.entity or _default_entity(api), api)
    except HarnessError:
        raise
    except wandb.errors.UsageError as error:
        raise ConfigError(f"wandb: {_sentence(error)} --dry-run needs no key.") from error
    except Exception as error:  # the client's own have no common root
        raise HarnessError(f"wandb: {_sentence(error)}") from error


def _default_entity(api: Any) -> str:
    if not api.default_entity:
        raise ConfigError("wandb: this key has no entity of its own; say whose the pages are with --entity")
    return str(api.default_entity)


def _publish(facts: Facts, entity: str, api: Any) -> Published:
    text = pages.report(facts, entity)
    known = _report_id(api, entity, facts)
    text.id = known or ""
    text.save()  # makes the project where there is none yet
    page = pages.workspace(facts, entity)
    page._internal_id = _workspace_id(facts, entity) or ""
    page.save()
    return Published(workspace=page.url, report=text.url, created=known is None)


def _report_id(api: Any, entity: str, facts: Facts) -> str | None:
    """Of the report whose description is ours, whatever its title is now."""
    if facts.project not in {project.name for project in api.projects(entity)}:
        return None
    reports = api.reports(f"{entity}/{facts.project}")
    return next((str(report.id) for report in reports if report.description == pages.report_mark(facts)), None)


def _workspace_id(facts: Facts, entity: str) -> str | None:
    import wandb_workspaces.workspaces as ws

    try:
        known = ws.Workspace.from_url(f"https://any/{entity}/{facts.project}?nw={pages.view_name(facts)[3:-2]}")
    except ValueError:  # the package's word for a view that is not there
        return None
    return str(known._internal_id)


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__

"""Where W&B's client sends runs, and where their pages are, without importing it; held to wandb 0.31.0 by a test."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

SERVER = "https://api.forge.coreweave.com"  # the client's default
_FORGES = {"forge.coreweave.com": "api.wandb.ai", "qa.forge.coreweave.com": "api.qa.wandb.ai"}  # host of the pages, its server's older name


def run_page(entity: str, project: str, run_id: str, *, site: str | None = None) -> str:
    """Where a run is looked at by whoever has this process's environment."""
    there = site or pages(server(os.environ, Path.home()))
    return "/".join([there.rstrip("/"), *(quote(name, safe="") for name in (entity, project)), "runs", quote(run_id, safe="")])


def server(environment: Mapping[str, str], home: Path) -> str:
    """The environment's, else what `wandb login --host` has written, else W&B's own."""
    return environment.get("WANDB_BASE_URL") or _written(environment, home) or SERVER


def hosts(server: str) -> tuple[str, ...]:
    """The names under which `wandb login` may have left the key, the likeliest first."""
    own = urlsplit(server).netloc
    forge = _forge(server)
    return (own,) if forge is None else tuple(dict.fromkeys((own, _FORGES[forge])))


def pages(server: str) -> str:
    """Of the pages, without a slash at its end. On W&B's own hosts they lie below /wandb; elsewhere the server's name tells."""
    forge = _forge(server)
    if forge is not None:
        return f"https://{forge}/wandb"
    host = urlsplit(server).hostname or ""
    page_host = "://" if host.startswith("api.wandb.") and host != "api.wandb.test" else "://app."
    return server.replace("://api.", page_host).rstrip("/")


def _forge(server: str) -> str | None:
    host = urlsplit(server).hostname
    return next((forge for forge, older in _FORGES.items() if host in (forge, f"api.{forge}", older)), None)


def _written(environment: Mapping[str, str], home: Path) -> str | None:
    folder = environment.get("WANDB_CONFIG_DIR")
    settings = configparser.ConfigParser(interpolation=None)
    try:
        settings.read((Path(folder) if folder else home / ".config" / "wandb") / "settings")
    except (configparser.Error, UnicodeDecodeError):
        return None
    return settings.get("default", "base_url", fallback=None)

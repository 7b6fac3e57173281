"""Where Optuna keeps a study: a journal file with one writer, a database by its URL, or memory. Refuses storage it cannot open."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.storages import BaseStorage, InMemoryStorage

from harness.errors import ConfigError
from sweeps.journal import StudyStorage


def journal(path: Path) -> BaseStorage:
    """Opens or makes a journal file, for this process alone to write; heals it. Raises ConfigError where it cannot be healed."""
    return StudyStorage(path)


def database(url: str) -> BaseStorage:
    """Raises ConfigError where the database cannot be reached or its driver is missing."""
    try:
        return optuna.storages.get_storage(url)
    except Exception as error:  # SQLAlchemy and its drivers each have their own
        raise ConfigError(f"hydra.sweeper.storage: cannot open {_without_password(url)}: {str(error).splitlines()[0]}") from error


def memory() -> BaseStorage:
    return InMemoryStorage()


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"

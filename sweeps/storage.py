"""Where Optuna keeps a study: a journal file with one writer, a database by its URL, or memory. Refuses storage it cannot open."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage

from harness import passwords
from harness.errors import ConfigError, StorageLost
from sweeps.journal import StudyStorage

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

_POSTGRES = ("postgresql", "postgres")
# A server that vanished without a word would hold us up for a quarter of an hour otherwise: seconds, and milliseconds for the last one.
_CONNECT = {"connect_timeout": 5, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}
_PASSWORD_HINT = "; its password comes from PGPASSWORD or ~/.pgpass, and from the URL of this command alone"  # noqa: S105


def journal(path: Path) -> BaseStorage:
    """Opens or makes a journal file, for this process alone to write; heals it. Raises ConfigError where it cannot be healed."""
    return StudyStorage(path)


def memory() -> BaseStorage:
    return InMemoryStorage()


def database(url: str) -> BaseStorage:
    """Makes the tables where there are none. Raises ConfigError where the database cannot be reached or its driver is missing."""
    with _refused(url):
        address = _address(url)
        return optuna.storages.get_storage(RDBStorage(address.render_as_string(hide_password=False), engine_kwargs=_options(address)))


def close(kept: BaseStorage) -> None:
    """Ends its connections."""
    kept.remove_session()
    backend = getattr(kept, "_backend", None)  # of Optuna's cache before a database
    if isinstance(backend, RDBStorage):
        backend.engine.dispose()


@contextmanager
def losses_named(url: str) -> Iterator[None]:
    """Raises StorageLost for every error of a database in what it surrounds."""
    try:
        yield
    except Exception as error:
        cause = _of_database(error)
        if cause is None:
            raise
        raise StorageLost(f"hydra.sweeper.storage: {_said(url)}: {_sentence(cause)}", may_come_back=_may_come_back(cause)) from error


@contextmanager
def _refused(url: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        driver = getattr(error.__cause__ or error, "name", None) or "of its driver"
        cure = "pip install 'verl-sweep[postgres]'" if _is_postgres(url) else "it is not installed"
        raise ConfigError(f"hydra.sweeper.storage: {_said(url)} needs the package {driver}: {cure}") from error
    except Exception as error:  # SQLAlchemy and its drivers each have their own
        cause = _of_database(error) or error
        hint = _PASSWORD_HINT if _is_postgres(url) and "password" in str(cause) else ""
        raise ConfigError(f"hydra.sweeper.storage: cannot open {_said(url)}: {_sentence(cause)}{hint}") from error


def _address(url: str) -> URL:
    """With the driver that is there, where a URL names none. Raises ConfigError where it is none."""
    from sqlalchemy.engine import make_url

    try:
        address = make_url(url)
    except ValueError as error:  # of a port; its words would hold what a password with a slash in it left there
        raise ValueError("the port is no number; write @ : / in a password as %40 %3A %2F") from error
    if address.host is not None and "@" in address.host:
        raise ValueError("there is more than one @; write that in a password as %40")
    if address.drivername in _POSTGRES:
        drivers = [name for name in ("psycopg", "psycopg2") if importlib.util.find_spec(name)]
        return address.set(drivername=f"postgresql+{(drivers or ['psycopg'])[0]}")
    return address


def _options(address: URL) -> dict[str, object]:
    if not address.drivername.startswith("postgresql+psycopg"):
        return {}
    own = {name: value for name, value in _CONNECT.items() if name not in address.query}
    return {"connect_args": own, "pool_pre_ping": True}  # a connection that a restarted server closed is replaced in silence


def _of_database(error: BaseException | None) -> Exception | None:
    """The database's own error among the causes of one."""
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    found: Exception | None = None
    while error is not None:
        if isinstance(error, DBAPIError):
            return error
        if isinstance(error, SQLAlchemyError | StorageInternalError):
            found = error
        error = error.__cause__
    return found


def _may_come_back(error: Exception) -> bool:
    """Whether waiting can help: the connection failed, or the server itself is in trouble."""
    from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

    return isinstance(error, OperationalError | InterfaceError) or (isinstance(error, DBAPIError) and error.connection_invalidated)


def _sentence(error: Exception) -> str:
    """The first line of what the driver said."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__]
    return passwords.without_passwords(" ".join(lines[0].split()))


def _said(url: str) -> str:
    return passwords.address(url)


def _is_postgres(url: str) -> bool:
    return url.startswith(_POSTGRES)

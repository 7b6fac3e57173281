"""Takes passwords out of whatever is recorded or said; pure. It would rather take too much than leave a part of one."""

from __future__ import annotations

import re
from collections.abc import Iterable

# `scheme://user:password@host`, to the last @ of the word, for an @ that should have been written %40 is a password's too.
# What ${oc.env:NAME} stands for is looked up anew each time: that is no secret.
_LOOKED_UP = r"\$\{oc\.env:\w+\}"
_USER = rf"(://(?:{_LOOKED_UP}|[^\s:/@]*)):(?!{_LOOKED_UP}@)"
_IN_ADDRESS = re.compile(rf"{_USER}\S*@")
_IN_WHOLE_ADDRESS = re.compile(rf"{_USER}.*@", re.DOTALL)
_IN_QUERY = re.compile(rf"([?&](?:ssl)?password=)(?!{_LOOKED_UP})[^&\s'\"]*")


def without_passwords(text: str) -> str:
    """A text in which addresses may stand."""
    return _IN_QUERY.sub(r"\1", _IN_ADDRESS.sub(r"\1@", text))


def address(url: str) -> str:
    """An address that can be recorded; libpq finds the password in PGPASSWORD or ~/.pgpass."""
    return _IN_QUERY.sub(r"\1", _IN_WHOLE_ADDRESS.sub(r"\1@", url))


def arguments(words: Iterable[str]) -> tuple[str, ...]:
    """A command that can be recorded."""
    return tuple(address(word) if word.lstrip("+").startswith("hydra.sweeper.storage=") else without_passwords(word) for word in words)

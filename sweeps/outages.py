"""Outlives a database's outage: engines go on meanwhile, and the study then goes on as if its controller had been replaced."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from optuna.storages import BaseStorage

from harness.errors import ConfigError, StorageLost, StudyInterrupted
from sweeps import storage

T = TypeVar("T")
_LOOK_S = 1.0
_CALM_S = 10.0  # an outage that begins so soon after the last one is still that one
_CURE = "what runs goes on, and the same command takes it over once the database answers"


class Wishes(Protocol):
    """What the user asks for while there is nothing to do but wait."""

    def wish_to_stop(self) -> bool: ...

    def stop_all(self) -> StudyInterrupted:
        """Ends what runs."""
        ...


@dataclass(slots=True)
class Outages:
    """Of the database at `url`, for `patience_s` at most; 0 is for ever."""

    url: str
    patience_s: float
    wishes: Wishes
    say: Callable[[str], None]
    _began: float = field(default=0.0, init=False)
    _ended: float = field(default=float("-inf"), init=False)

    def outlive(self, course: Callable[[BaseStorage], T], kept: BaseStorage) -> T:
        """The course's result. It is begun anew after each outage, and takes over what runs. Raises StorageLost, StudyInterrupted."""
        while True:
            try:
                with storage.losses_named(self.url):
                    return course(kept)
            except StorageLost as error:
                if not error.may_come_back:
                    raise StorageLost(f"{error}; {_CURE}", may_come_back=False) from error
                lost = error
            finally:
                storage.close(kept)
            kept = self._wait(lost)

    def _wait(self, lost: StorageLost) -> BaseStorage:
        if time.monotonic() - self._ended > _CALM_S:
            self._began = time.monotonic()
        self.say(f"{lost}; waiting for it, what runs goes on")
        while not self.patience_s or time.monotonic() - self._began < self.patience_s:
            time.sleep(_LOOK_S)
            if self.wishes.wish_to_stop():
                raise self.wishes.stop_all()
            try:
                kept = storage.database(self.url)
            except ConfigError:
                continue
            self._ended = time.monotonic()
            self.say("the database answers again")
            return kept
        raise StorageLost(f"{lost}; gave up after {self.patience_s:g} s: {_CURE}", may_come_back=True) from lost

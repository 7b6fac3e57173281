"""What goes wrong, on request: a status instead of an answer, an answer that is late, a connection that ends without one."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import StrEnum


class Drop(StrEnum):
    """When the connection ends without an answer."""

    NEVER = "never"
    BEFORE = "before"  # the request is read and forgotten
    AFTER = "after"  # it has had its effect, of which its sender learns nothing


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Holds for requests whose path contains `path`, for so many of them (0: for all that come)."""

    status: int = 0  # HTTP's, instead of an answer
    stall_s: float = 0.0  # before anything else
    drop: Drop = Drop.NEVER
    path: str = ""
    times: int = 0


class Faults:
    """The one fault that there is, if there is one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fault = Fault()
        self._left = 0

    def set(self, fault: Fault) -> None:
        with self._lock:
            self._fault, self._left = fault, fault.times

    def of(self, path: str) -> Fault:
        """What this request is to suffer."""
        with self._lock:
            if self._fault.path not in path:
                return Fault()
            fault = self._fault
            if fault.times:
                self._left -= 1
                if self._left <= 0:
                    self._fault = Fault()
            return fault

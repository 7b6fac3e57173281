"""The six small answers that a place to run has to give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from harness.paths import EnginePaths
from harness.types import Slot


class EngineLauncher(Protocol):
    """Starts and ends engines somewhere; the folder of the engine holds its `command.json`, and is shared with the place where it runs."""

    def slots(self) -> Sequence[Slot]:
        """Every slot there is, in order of preference."""
        ...

    def start(self, engine: EnginePaths) -> None:
        """Starts the engine's supervisor and returns; one that lives already is left alone. Raises LaunchError."""
        ...

    def is_alive(self, engine: EnginePaths) -> bool:
        """Whether the engine's supervisor still has something to do; False only when all that the engine started is gone."""
        ...

    def has_room_beside(self, engine: EnginePaths) -> bool:
        """Whether another engine as big as this one, at its biggest when this was asked, would find memory on the same slot now."""
        ...

    def is_clear(self, slot: Slot, share: float, say: Callable[[str], None]) -> bool:
        """Whether a slot without an engine can be given one: what the last one held is back, and `share` of each GPU's memory is free.

        `say` is told what a user has to know. Raises GpuQuarantined where no slot of this place is left.
        """
        ...

    def end(self, engine: EnginePaths) -> None:
        """Asks the supervisor to end the engine at once, whatever it does; returns before it has."""
        ...

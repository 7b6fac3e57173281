"""Whether the GPUs of a slot can be given on: their memory comes back seconds after an engine's last process is gone, or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from harness import gpus
from harness.errors import HarnessError
from harness.gpus import Memory
from harness.types import Slot

TOLERANCE_MIB = 512  # more than before the engine: what the driver itself keeps for a process that just left
STABLE_MIB, STABLE_S = 64, 1.0  # memory that moves less than this, for so long, has settled
LOOK_S, FAR_LOOK_S = 0.5, 10.0  # between two looks; at a GPU in quarantine
CLEAR_S = 2.0  # for so long what was seen is taken to hold
PATIENCE_S = 60.0


@dataclass(slots=True)
class _Slot:
    """What is known of a slot's GPUs; times are monotonic."""

    before: tuple[int, ...] | None = None  # MiB in use when no engine of ours had run there; None: not seen
    used: bool = False  # by an engine since it was last found clear
    since: float | None = None  # the first look that found it not clear
    looked: float = 0.0
    last: tuple[int, ...] = ()  # MiB in use at the last look
    steady_since: float = 0.0
    quarantined: bool = False
    clear_at: float | None = None  # when it was found clear


@dataclass(slots=True)
class GpuGuard:
    """Remembers what the GPUs of each slot looked like. A GPU that does not come back is quarantined until it does."""

    patience_s: float = PATIENCE_S
    _slots: dict[str, _Slot] = field(default_factory=dict)  # by name
    _blind: bool = False

    def engine_starts(self, slot: Slot) -> None:
        known = self._slots.setdefault(slot.name, _Slot())
        known.used, known.clear_at = True, None

    def is_clear(self, slot: Slot, share: float, say: Callable[[str], None]) -> bool:
        """Whether the memory is back where it was, steady, and `share` of each GPU is free. `say` is told what a user has to know."""
        if not slot.gpus or self._blind:
            return True
        known, now = self._slots.setdefault(slot.name, _Slot()), time.monotonic()
        if known.clear_at is not None and now - known.clear_at < CLEAR_S:
            return True
        if known.looked and known.clear_at is None and now - known.looked < (FAR_LOOK_S if known.quarantined else LOOK_S):
            return False
        known.looked = now
        problem = self._problem(known, slot, share, now, say)
        if problem is None:
            if known.quarantined:
                say(f"{slot.name} is back and used again")
            self._slots[slot.name] = _Slot(before=known.before, clear_at=now)
            return True
        known.since, known.clear_at = known.since or now, None
        if now - known.since > self.patience_s and not known.quarantined:
            known.quarantined = True
            say(f"QUARANTINED: {slot.name} gets no more trials, for {problem}; see nvidia-smi for whose it is")
        return False

    def quarantined(self) -> list[str]:
        """Names of slots."""
        return [name for name, slot in self._slots.items() if slot.quarantined]

    def _problem(self, known: _Slot, slot: Slot, share: float, now: float, say: Callable[[str], None]) -> str | None:
        try:
            memory = gpus.memory(slot.gpus)
        except HarnessError as error:
            if known.before is None:
                self._blind = True
                say(f"{error}: whether GPU memory comes back after a trial is not checked")
                return None
            return str(error)
        used = tuple(device.used for device in memory)
        moved = len(known.last) != len(used) or any(abs(a - b) > STABLE_MIB for a, b in zip(known.last, used, strict=True))
        if moved:
            known.steady_since = now
        known.last = used
        if slot.parts > 1:  # what its neighbours use comes and goes
            return _short(slot, memory, share)
        if (held := _held(slot, memory, known.before, share)) is not None:
            return held
        if known.used and now - known.steady_since < STABLE_S:
            return "its memory still changes"
        known.before = known.before or used
        return None


def _short(slot: Slot, memory: Sequence[Memory], share: float) -> str | None:
    """Whether the part that a slot has of its GPU is free: who keeps to their own leaves it."""
    for name, device in zip(slot.gpus, memory, strict=True):
        free, due = device.total - device.used, max(device.total / slot.parts - TOLERANCE_MIB, share * device.total)
        if free < due:
            return f"GPU {name} has {free} of {device.total} MiB free, and each of its {slot.parts} slots may take {due:.0f}"
    return None


def _held(slot: Slot, memory: Sequence[Memory], before: tuple[int, ...] | None, share: float) -> str | None:
    """The first GPU whose memory is held by somebody."""
    for index, (name, device) in enumerate(zip(slot.gpus, memory, strict=True)):
        if before is not None and device.used > before[index] + TOLERANCE_MIB:
            return f"GPU {name} has {device.used} MiB in use, {before[index]} before its engine started"
        if device.total - device.used < share * device.total:
            return f"GPU {name} has {device.total - device.used} of {device.total} MiB free, and a trial takes {share:.0%}"
    return None

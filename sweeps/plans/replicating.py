"""The trials that a set of configurations still lacks at a set of seeds; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.types import Role
from sweeps.plans.plan import Replicate, Standing


@dataclass(frozen=True, kw_only=True, slots=True)
class Lacking:
    """`missing` were never asked for; `open` have not been told."""

    missing: tuple[Replicate, ...]
    open: int

    @property
    def is_nothing(self) -> bool:
        return not self.missing and not self.open


def lacking(firsts: Sequence[Standing], seeds: Sequence[int], standings: Sequence[Standing], *, role: Role) -> Lacking:
    """Seed by seed, and for each of them in the order of `firsts`, so that comparisons are paired as early as can be."""
    tried = {(standing.configuration, standing.seed): standing for standing in standings}
    pairs = [(first, seed, tried.get((first.configuration, seed))) for seed in seeds for first in firsts]
    missing = tuple(Replicate(of=first.number, seed=seed, role=role) for first, seed, there in pairs if there is None)
    return Lacking(missing=missing, open=sum(there is not None and there.is_open for _, _, there in pairs))


def affordable(
    ranked: Sequence[Standing], seeds: Sequence[int], standings: Sequence[Standing], *, left: float, role: Role, kept: Standing | None
) -> tuple[list[Standing], Lacking] | None:
    """As many of the best as can all be tried with these seeds for `left` full runs, and what they lack; None where they are not two.

    `kept` is among them whatever its rank: the default, with which the best is to be compared.
    """
    for places in range(len(ranked), 0, -1):
        chosen = list(ranked[:places])
        if kept is not None and kept not in chosen:
            chosen.append(kept)
        lacks = lacking(chosen, seeds, standings, role=role)
        if len(chosen) > 1 and len(lacks.missing) <= left + 1e-9:
            return chosen, lacks
    return None

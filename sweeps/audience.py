"""Log lines about the trials of a plain task function, through the application's own logging."""

from __future__ import annotations

import logging

from sweeps.runner import Outcome, Proposal

log = logging.getLogger(__name__)


class LogAudience:
    """One log line for each trial, through the application's own logging."""

    def started(self, proposal: Proposal) -> None:
        log.info("trial %d: %s", proposal.number, " ".join(proposal.overrides))

    def ended(self, number: int, outcome: Outcome) -> None:
        values = "" if outcome.values is None else " ".join(f"{value:g}" for value in outcome.values)
        log.info("trial %d %s %s", number, outcome.state, values or outcome.message)

    def tick(self) -> None:
        pass

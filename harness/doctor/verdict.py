"""All rules over an experiment's needs and a host's facts; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from harness.doctor import devices, host, software, sources
from harness.doctor.nouns import Facts, Line, Needs, Verdict

Rule = Callable[[Needs, Facts], Iterator[Line]]

# Heading -> its rules, in the order in which a reader would mend them.
RULES: dict[str, tuple[Rule, ...]] = {
    "Experiment": (sources.configuration, sources.made, sources.read, sources.wandb),
    "Software": (host.python, software.pins, software.stranger, software.training, software.compiled, software.flash_attention),
    "Slots": (devices.driver, devices.cuda, devices.slots, devices.memory),
    "Host": (
        host.processors,
        host.memory,
        host.shared_memory,
        host.disks,
        host.ports,
        host.open_files,
        host.control_group,
    ),
}


def judge(needs: Needs, facts: Facts) -> dict[str, tuple[Line, ...]]:
    """Heading -> lines."""
    return {heading: tuple(line for rule in rules for line in rule(needs, facts)) for heading, rules in RULES.items()}


def lacking(page: dict[str, tuple[Line, ...]]) -> list[Line]:
    """Why the experiment cannot run here; empty where it can."""
    return [line for line in _lines(page.values()) if line.verdict is Verdict.LACKS]


def _lines(groups: Iterable[tuple[Line, ...]]) -> Iterator[Line]:
    for group in groups:
        yield from group

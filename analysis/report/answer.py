"""What the page says first: what to use, how sure that is, what luck is in it, and one command that runs it; pure but for that command."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.report.facts import Facts
from analysis.report.links import links
from analysis.report.statistics import luck_of_the_best
from harness.answer import estimate, evidence
from harness.comparison import mean
from harness.wording import definition, exact


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    knobs: tuple[tuple[str, str, str], ...]  # whole name, short name, value to be copied
    values: tuple[tuple[str, str], ...]  # number, and what it is
    trials: tuple[int, ...]
    sentences: tuple[str, ...]
    command: str


def answer(facts: Facts) -> Answer | None:
    """None where no trial is complete."""
    status, best = facts.status, facts.best
    if best is None or status.best is None or not status.best.values:
        return None
    replicated = facts.result is not None and facts.result.replicated
    numbers = [estimate(facts.result.best)] if facts.result and replicated else [f"{value:.6g}" for value in status.best.values]
    front = [f"By the first objective; none beats trials {', '.join(map(str, status.pareto))} in all of them."] if status.pareto else []
    return Answer(
        knobs=tuple((knob, facts.names.get(knob, knob), exact(value)) for knob, value in best.params.items()),
        values=tuple((value, definition(objective)) for value, objective in zip(numbers, status.record.objectives, strict=False)),
        trials=tuple(trial.number for trial in best.trials if trial.values) if replicated else (status.best.number,),
        sentences=(*front, *evidence(status, facts.result), *_luck(facts)),
        command=links(status, status.best).command,
    )


def _luck(facts: Facts) -> list[str]:
    """What the value owes to having been picked: seen where fresh seeds confirm it, else expected."""
    result = facts.result
    if result is None or not result.replicated:
        return []
    best = facts.best
    if result.best.confirmed and best is not None:
        chose = [value for seed, value in best.values.items() if seed not in result.best.seeds]
        if chose and mean(chose) != result.best.mean:
            return [
                f"The seeds that chose it gave {mean(chose):.4g}: the difference to the mean above is the luck of having been picked, "
                "and is left out of it."
            ]
        return []
    rivals = [one for one in facts.configurations if one.estimate is not None and one.estimate.contends]
    luck = luck_of_the_best([[facts.sign * value for value in one.values.values()] for one in rivals])
    if luck is None or luck.amount <= 0:
        return []
    return [
        f"It was picked as the best of {luck.among}: about {luck.amount:.2g} of its mean is expected to be luck, which the interval does "
        "not hold."
    ]

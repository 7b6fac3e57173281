"""What a study leaves open, one sentence each with the next thing to try; pure.

A report that only says what is best hides where it may be wrong: ties, ends of ranges, knobs that showed nothing, single seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from analysis.report.axes import Lead
from analysis.report.bill import Bill
from analysis.report.facts import FEW_WHOLES, Facts, Standing
from analysis.report.importance import Importance
from analysis.report.limits import limits, within
from analysis.report.series import shown_metrics
from harness.digest import failures, numbers
from harness.domains import Choices, Domain, Range
from harness.result import is_candidate
from harness.types import TrialState
from harness.wording import compact, share

EDGE = 0.05  # of a range: nearer to its end, the best may lie beyond
FEW_SEEDS = 3
_FLAT = 1e-12


class Matter(StrEnum):
    """What kind of doubt it is: the code beside the sentence."""

    NO_ANSWER = "no answer"
    TIE = "tie"
    SEEDS = "few seeds"
    EDGE = "edge of a range"
    NO_EFFECT = "no measurable effect"
    FLIP = "depends on the axis"
    STOPPED = "stopped too early?"
    FLAT = "never varied"
    GUARD = "guard"
    FAILED = "failed"
    UNFINISHED = "not finished"


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubt:
    """`trials` are those that it is about, to be linked."""

    matter: Matter
    text: str
    trials: tuple[int, ...] = ()
    cure: str = ""  # what to add to the command, or what to do

    @property
    def cure_is_code(self) -> bool:
        return "=" in self.cure and " " not in self.cure


def doubts(facts: Facts, found: Sequence[Importance], ahead: Sequence[Lead], cost: Bill) -> tuple[Doubt, ...]:
    """The gravest first."""
    return (
        *_unfinished(facts),
        *_no_answer(facts),
        *_ties(facts),
        *_few_seeds(facts),
        *_edges(facts, found),
        *_flips(ahead),
        *_stopped(facts, cost),
        *_without_effect(facts, found),
        *_flat(facts),
        *_guards(facts),
        *_failed(facts),
    )


def _unfinished(facts: Facts) -> Iterator[Doubt]:
    status = facts.status
    if not status.ended:
        spent = (
            f"{status.told} of {status.record.n_trials} trials have ended"
            if status.full_runs is None
            else f"{status.full_runs:.1f} of {status.record.n_trials} full runs are spent"
        )
        reason = f": {status.record.stopped}" if status.record.stopped else ""
        yield Doubt(
            matter=Matter.UNFINISHED, text=f"{spent}{reason}; all below may change.", cure=f"verl-study resume {status.record.name}"
        )


def _no_answer(facts: Facts) -> Iterator[Doubt]:
    if facts.best is None:
        yield Doubt(matter=Matter.NO_ANSWER, text="No trial is COMPLETE, so nothing can be recommended.")


def _ties(facts: Facts) -> Iterator[Doubt]:
    tied = [one for one in facts.configurations if one.standing is Standing.TIED]
    if not tied:
        return
    many = len(tied) > 1
    yield Doubt(
        matter=Matter.TIE,
        text=f"{len(tied)} configuration{'s' * many} cannot be told from the recommended one: {'they' if many else 'it'} may be better.",
        trials=tuple(one.first for one in tied),
        cure=f"more seeds for {'these' if many else 'both'} would decide it, or take whichever is cheaper",
    )


def _few_seeds(facts: Facts) -> Iterator[Doubt]:
    best = facts.best
    if best is None or len(best.values) >= FEW_SEEDS:
        return
    seeds = "one seed" if len(best.values) == 1 else f"{len(best.values)} seeds"
    known = "so nothing is known of its spread" if len(best.values) == 1 else "so its interval is wide"
    yield Doubt(
        matter=Matter.SEEDS,
        text=f"The recommended configuration has {seeds}, {known}.",
        trials=tuple(trial.number for trial in best.trials),
        cure="hydra/sweeper/plan=confirmation"
        if facts.status.record.plan == "Once"
        else f"a larger hydra.sweeper.n_trials than {facts.status.record.n_trials} gives the best ones more",
    )


def _edges(facts: Facts, found: Sequence[Importance]) -> Iterator[Doubt]:
    best, weak = facts.best, {one.knob for one in found if not one.measurable}
    for knob, domain in facts.domains.items() if best else ():
        value = best.params.get(knob) if best else None
        end = _end(domain, value)
        if best is None or end is None or knob not in facts.status.record.space:
            continue
        assert isinstance(value, int | float)
        low, high = limits(knob, domain)
        if value <= low or value >= high:
            continue  # nothing lies beyond
        further = within(domain.around(value) if isinstance(domain, Range) else domain.beyond(value), low, high)
        yield Doubt(
            matter=Matter.EDGE,
            text=f"The best {facts.names[knob]}, {compact(value)}, lies at the {end} of what was tried ({domain.asked()}): better "
            f"ones may lie "
            f"beyond{', though it shows no measurable effect' if knob in weak else ''}.",
            trials=(best.first,),
            cure=f"{knob}={further.asked()}",
        )


def _end(domain: Domain, value: object) -> str | None:
    """`lower end`, `upper end`, or None where the value lies inside, or there is no order."""
    place = domain.place(value)
    if place is None or (isinstance(domain, Choices) and not domain.ordered):
        return None
    near = EDGE if isinstance(domain, Range) else 0.0
    return "lower end" if place <= near else "upper end" if place >= 1 - near else None


def _flips(ahead: Sequence[Lead]) -> Iterator[Doubt]:
    for lead in ahead:
        yield Doubt(
            matter=Matter.FLIP,
            text=(
                f"At equal {lead.axis} ({lead.amount:.3g}) the configuration of trial {lead.ahead.first} is ahead: {lead.value:.4g} "
                f"against {lead.best_value:.4g} of the recommended one."
            ),
            trials=(lead.ahead.first,),
            cure=f"if {str(lead.axis).partition(',')[0]} is what you pay for, compare at equal amounts",
        )


def _stopped(facts: Facts, cost: Bill) -> Iterator[Doubt]:
    whole = facts.status.counts[TrialState.COMPLETE]
    if cost.stopped and not cost.judged and facts.best is not None:
        yield Doubt(
            matter=Matter.STOPPED,
            text=f"{cost.stopped} trials were stopped early, and {whole} complete ones are too few to tell how they would have ended."
            if cost.stopped > 1
            else f"A trial was stopped early, and {whole} complete ones are too few to tell how it would have ended.",
            cure=f"{FEW_WHOLES} complete ones allow a forecast",
        )
    if not cost.risks or facts.best is None:
        return
    likely = sum(facts.sign * risk.expected >= facts.sign * (facts.best.level or 0.0) for risk in cost.risks)
    of = "The configuration" if cost.judged == 1 else f"{len(cost.risks)} of {cost.judged} configurations"
    few = f" {whole} complete trials tell little of how curves go on." if len(cost.risks) == cost.judged else ""
    yield Doubt(
        matter=Matter.STOPPED,
        text=f"{of} stopped early might have ended as good as the best, by the 90 % intervals of forecasts, {likely or 'none'} more "
        f"likely than not.{few}",
        trials=tuple(risk.configuration.first for risk in cost.risks[:8]),
        cure="run the most promising one to its end with its own command",
    )


def _without_effect(facts: Facts, found: Sequence[Importance]) -> Iterator[Doubt]:
    weak = [one for one in found if not one.measurable]
    if not weak:
        return
    names = ", ".join(facts.names[one.knob] for one in weak)
    yield Doubt(
        matter=Matter.NO_EFFECT,
        text=(
            f"{names}: no effect that {sum(one.level is not None for one in facts.configurations)} configurations could show; more than "
            f"one in ten shuffled studies {'show' if len(weak) > 1 else 'shows'} as much. That is no proof that "
            f"{'they do' if len(weak) > 1 else 'it does'} nothing."
        ),
        cure="fix what shows nothing, and spend its trials on the rest",
    )


def _flat(facts: Facts) -> Iterator[Doubt]:
    complete = [trial for trial in facts.status.trials if is_candidate(trial) and trial.values]
    for place, objective in enumerate(facts.status.record.objectives):
        values = [trial.values[place] for trial in complete if trial.values and place < len(trial.values)]
        if len(values) > 1 and max(values) - min(values) <= _FLAT:
            yield Doubt(
                matter=Matter.FLAT,
                text=f"The objective {objective.metric} was {values[0]:.4g} in every complete trial: it tells nothing apart.",
            )
    series = [one for one in facts.series.values() if one.metrics]
    for name in shown_metrics(facts.series.values()):
        own = {one.constant.get(name, math.nan) for one in series if name in one.metrics}
        if len(own) == 1 and len(series) > 1 and not any(math.isnan(value) for value in own):
            yield Doubt(
                matter=Matter.FLAT, text=f"{name} was {own.pop():.4g} at every step of every trial: is what it measures switched on?"
            )


def _guards(facts: Facts) -> Iterator[Doubt]:
    fired: dict[str, list[int]] = {}
    for trial, verdict in facts.guards:
        fired.setdefault(f"{verdict.code} ({verdict.action})", []).append(trial)
    for words, trials in fired.items():
        some = sorted(set(trials))
        yield Doubt(
            matter=Matter.GUARD, text=f"The guard {words} fired in trial{'s' * (len(some) > 1)} {numbers(some)}.", trials=tuple(some[:8])
        )


def _failed(facts: Facts) -> Iterator[Doubt]:
    ended = sum(facts.status.counts[state] for state in TrialState if state.ended)
    for (reason, message), trials in failures(facts.status).items():
        of = f" ({share(len(trials) / ended)} of those that ended)" if ended else ""
        yield Doubt(
            matter=Matter.FAILED,
            text=f"{len(trials)} trial{'s' * (len(trials) > 1)} {reason or 'deserted'}{of}: {message}",
            trials=tuple(trials[:8]),
            cure="what fails for its own settings is not random: the best may lie beside it" if len(trials) > 1 else "",
        )

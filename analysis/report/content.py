"""Everything that a report says, put together once, for the page, the Markdown and the files on demand."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.report.ablation import Ablation, ablation
from analysis.report.answer import Answer, answer
from analysis.report.axes import leads
from analysis.report.bill import Bill, bill
from analysis.report.facts import Facts, Standing
from analysis.report.figures.course import progress, states, timeline
from analysis.report.figures.curves import health, learning
from analysis.report.figures.figure import Figure
from analysis.report.figures.front import pareto
from analysis.report.figures.knobs import importance, parallel, slices
from analysis.report.figures.pairs import pairs
from analysis.report.importance import Importance, importances
from analysis.report.tables import ConfigurationRow, TrialRow, configuration_rows, trial_rows
from analysis.report.unresolved import Doubt, doubts


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    facts: Facts
    answer: Answer | None
    doubts: tuple[Doubt, ...]
    importances: tuple[Importance, ...]
    ablation: Ablation | None  # None where there is no such question
    bill: Bill
    figures: tuple[Figure, ...]
    configurations: tuple[ConfigurationRow, ...]
    trials: tuple[TrialRow, ...]

    @property
    def standings(self) -> tuple[Standing, ...]:
        """Those that some configuration has."""
        return tuple(standing for standing in Standing if any(one.standing is standing for one in self.facts.configurations))

    def figure(self, key: str) -> Figure | None:
        return next((one for one in self.figures if one.key == key), None)

    @property
    def health(self) -> tuple[Figure, ...]:
        return tuple(one for one in self.figures if one.key.startswith("health-"))


def content(facts: Facts) -> Content:
    found, cost = importances(facts), bill(facts)
    wanted = (
        learning(facts),
        pareto(facts),
        parallel(facts),
        importance(facts, found),
        slices(facts, found),
        pairs(facts, found),
        *health(facts),
        progress(facts, cost),
        timeline(facts),
        states(facts),
    )
    return Content(
        facts=facts,
        answer=answer(facts),
        doubts=doubts(facts, found, leads(facts), cost),
        importances=found,
        ablation=ablation(facts),
        bill=cost,
        figures=tuple(one for one in wanted if one is not None),
        configurations=configuration_rows(facts, cost),
        trials=trial_rows(facts),
    )

"""A study's plain report: Markdown without plots, the answer first, then what is open, ranking, cost and what to type next; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from harness.answer import estimate, evidence, mean_cells, rank_cells, ranked
from harness.digest import cost_line, failures, latest_and_best, next_commands, numbers, one_line, untold
from harness.result import Result
from harness.status import StudyStatus
from harness.types import TrialState
from harness.wording import aligned, cause, compact, definition, duration, exact, short_names, summary_line

if TYPE_CHECKING:
    from analysis.report.unresolved import Doubt


def markdown(status: StudyStatus, doubts: Sequence[Doubt] = ()) -> str:
    return "\n".join([findings(status, doubts), *_next(status)])


def findings(status: StudyStatus, doubts: Sequence[Doubt] = (), *, at_most: int | None = None) -> str:
    """The report without what to type next, which is for this host alone; of the ranking the first `at_most` trials."""
    result = status.result()
    sections = (
        _answer(status, result),
        _unresolved(doubts),
        _ranking(status, result, at_most),
        _failures(status),
        _cost(status),
    )
    return "\n".join(line for section in sections for line in section)


def _unresolved(doubts: Sequence[Doubt]) -> Iterator[str]:
    if not doubts:
        return
    yield from ("## Not resolved", "")
    for doubt in doubts:
        trials = f" (trial{'s' * (len(doubt.trials) > 1)} {numbers(list(doubt.trials))})" if doubt.trials else ""
        yield f"- **{doubt.matter}**: {one_line(doubt.text)}{trials}" + (
            f" `{doubt.cure}`" if doubt.cure_is_code else f" {doubt.cure}." if doubt.cure else ""
        )
    yield ""


def _answer(status: StudyStatus, result: Result | None) -> Iterator[str]:
    best = status.best
    yield from (f"# {status.record.name}", "")
    if not status.ended:
        yield from (f"Not ended: {summary_line(status)}.", "")
    if best is None or best.values is None:
        yield from ("No trial is COMPLETE, so there is no best configuration.", "")
        return
    replicated = result is not None and result.replicated
    trials = f"the configuration of trials {numbers(list(result.best.trials))}" if result and replicated else f"trial {best.number}"
    yield from (f"Best is {trials}:", "", "```yaml")
    yield from (f"{knob}: {exact(value)}" for knob, value in best.params.items())
    yield from ("```", "")
    values = [estimate(result.best)] if result and replicated else [f"{value:.6g}" for value in best.values]
    yield from (f"- {value}: {definition(o)}" for o, value in zip(status.record.objectives, values, strict=False))
    if best.seed is not None and not replicated:
        yield f"- with seed {best.seed}"
    if status.pareto:
        yield f"- none beats trials {', '.join(map(str, status.pareto))} in all objectives"
    for note in evidence(status, result):
        yield from ("", f"**{note}**")
    yield ""


def _ranking(status: StudyStatus, result: Result | None, at_most: int | None) -> Iterator[str]:
    trials, names = ranked(status, result)[:at_most], short_names(status.record.knobs)
    if not trials:
        return
    values = aligned([latest_and_best(trial, status.record.objectives[0])[0] for trial in trials])
    means = mean_cells(trials, result) if result is not None and result.replicated else []
    mean = ["mean"] if means else []
    yield from ("## Trials", "")
    yield from _row(["#", "trial", *mean, "value", "state", *names.values(), "seed", "steps", "time", "start-up", "message"])
    yield from _row(["---:", "---:", *("---:" for _ in mean), "---:", ":---", *("---:" for _ in names), *["---:"] * 4, ":---"])
    for row, (rank, trial, value) in enumerate(zip(rank_cells(trials, result), trials, values, strict=True)):
        knobs = (compact(trial.params[knob]) if knob in trial.params else "" for knob in names)
        seed = "" if trial.seed is None else str(trial.seed)
        times = (duration(trial.seconds), duration(trial.startup_s))
        state = cause(trial.state, trial.reason)
        numbered = [rank, str(trial.number), *means[row : row + 1]]
        yield from _row([*numbered, value, state, *knobs, seed, str(trial.steps), *times, untold(trial)])
    if len(trials) < len(status.trials):
        yield from ("", f"{len(status.trials) - len(trials)} more are not shown.")
    if any(trial.state is not TrialState.COMPLETE and value for trial, value in zip(trials, values, strict=True)):
        yield from ("", "The value of a trial that is not COMPLETE is the last one it logged.")
    yield ""


def _failures(status: StudyStatus) -> Iterator[str]:
    found = failures(status)
    if not found:
        return
    yield from ("## Went wrong", "")
    yield from (f"- {reason}: {message} (trial {numbers(trials)})" for (reason, message), trials in found.items())
    yield ""


def _cost(status: StudyStatus) -> Iterator[str]:
    yield from ("## Cost", "", f"{cost_line(status)}.", "")


def _next(status: StudyStatus) -> Iterator[str]:
    yield from ("## Next", "", "```bash")
    yield from _commented(next_commands(status))
    yield from ("```", "")


def _commented(commands: Sequence[tuple[str, str]]) -> Iterator[str]:
    longest = max(len(command) for command, _ in commands)
    yield from (f"{command:<{longest}}  # {purpose}" for command, purpose in commands)


def _row(cells: Iterable[str]) -> Iterator[str]:
    yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

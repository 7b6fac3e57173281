"""A study on a terminal: the live table, and the block at its end; builds rich renderables and prints nothing."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.answer import estimate, evidence, ranked
from harness.columns import GAP, STYLES, Column, fitting, grid, live_columns, ranked_columns, taken
from harness.digest import cost_line, failures, next_commands, numbers, rows_to_show, study_left_s, untold
from harness.result import Result
from harness.status import StudyStatus
from harness.types import TrialState
from harness.wording import best_words, definition, duration, exact, full_runs

_SHORTEST_MESSAGE, _LONGEST_MESSAGE = 24, 90


class Screen:
    """Header and live table in whatever room the terminal has."""

    def __init__(self, status: StudyStatus, now: float) -> None:
        self._status = status
        self._now = now

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        rows = max((options.height or options.size.height) - 9, 3)
        yield header(self._status, self._now, width=options.max_width)
        yield Padding(table(self._status, self._now, width=options.max_width - 1, rows=rows), (0, 0, 0, 1))


def header(status: StudyStatus, now: float, *, width: int = 140) -> RenderableType:
    """Three lines: how far, how many, how good."""
    title = Text.assemble((status.record.name, "bold"), ("  ", ""), _activity(status), (f"  {duration(status.elapsed_s)}", ""))
    left = study_left_s(status, now)
    if left is not None:
        title.append(f", about {duration(left)} left", style="dim")
    counts = Text(f"{status.told}/{status.record.n_trials} " if status.full_runs is None else full_runs(status), style="bold")
    for state in (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.WAITING):
        if status.counts[state]:
            counts.append(f"  {status.counts[state]} {state.lower()}", style=STYLES[state])
    progress = Text.assemble(_bar(status, min(40, max(width - len(counts) - 4, 10))), "  ", counts)
    lines = [title, progress, _best_line(status)]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Padding(Group(*lines), (1, 1, 1, 1))


def table(status: StudyStatus, now: float, *, width: int = 140, rows: int = 30) -> Table:
    """One row a trial, in the order of their numbers: those that run, the best one, and the latest others, as many as there is room for."""
    shown = rows_to_show(status, rows)
    view = grid(live_columns(status, shown, now), width)
    hidden = len(status.trials) - len(shown)
    if hidden or not status.trials:
        view.caption = f"… {hidden} more" if hidden else "no trial yet"
        view.caption_justify, view.caption_style = "left", "dim"
    return view


def closing(status: StudyStatus) -> RenderableType:
    """What a person wants to read when a study is over: the answer, the ranking, what went wrong, the cost, what to type next."""
    return _Closing(status)


class _Closing:
    def __init__(self, status: StudyStatus) -> None:
        self._status = status

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        status = self._status
        width = options.max_width - 2
        result = status.result()
        blocks = [_answer(status, result), _ranking(status, result, width), _failures(status), _cost(status), _next(status, width)]
        yield Padding(Group(*(block for block in blocks if block is not None)), (1, 1, 1, 1))


def _answer(status: StudyStatus, result: Result | None) -> RenderableType:
    best, record = status.best, status.record
    if best is None or best.values is None:
        return Text.assemble((f"{record.name}: no trial is COMPLETE, so there is no best configuration", "bold"))
    lines = [_title(status, best.number, result)]
    values = [estimate(result.best)] if result is not None and result.replicated else [f"{value:.6g}" for value in best.values]
    for objective, value in zip(record.objectives, values, strict=False):
        lines.append(Text.assemble("  ", (value, "bold"), (f"  {definition(objective)}", "")))
    if status.pareto:
        lines.append(Text(f"  by the first objective; none beats trials {', '.join(map(str, status.pareto))} in all of them"))
    longest = max((len(knob) for knob in best.params), default=0)
    lines.append(Text())
    lines += [Text.assemble(f"  {knob:<{longest}}  = ", (exact(value), "bold")) for knob, value in best.params.items()]
    if best.seed is not None and (result is None or not result.replicated):
        lines.append(Text(f"  with seed {best.seed}", style="dim"))
    notes = evidence(status, result)
    return Group(*lines, *([Text()] if notes else []), *(Padding(Text(note, style="yellow"), (0, 0, 0, 2)) for note in notes))


def _title(status: StudyStatus, best: int, result: Result | None) -> Text:
    if result is None or not result.replicated:
        return Text.assemble(("Best ", "bold"), (f"trial {best}", "bold green"), f" of {len(status.trials)} in {status.record.name}")
    trials = f"trial{'s' * (len(result.best.trials) > 1)} {numbers(list(result.best.trials))}"
    return Text.assemble(("Best configuration", "bold green"), f" of {len(result.estimates)} in {status.record.name}: {trials}")


def _ranking(status: StudyStatus, result: Result | None, width: int) -> RenderableType:
    """All trials; with their messages where there is room."""
    trials = ranked(status, result)
    columns = ranked_columns(status, trials, result)
    room = width - taken(fitting(columns, width)) - GAP
    messages = [untold(trial) for trial in trials]
    if room >= _SHORTEST_MESSAGE and any(messages):
        columns.append(_message_column(messages, min(room, _LONGEST_MESSAGE)))
    return Padding(grid(columns, width), (1, 0, 1, 0))


def _message_column(messages: Sequence[str], room: int) -> Column:
    cut = [message if len(message) <= room else f"{message[: room - 1]}…" for message in messages]
    return Column(title="message", cells=cut, keep=99, right=False, style="dim")


def _failures(status: StudyStatus) -> RenderableType | None:
    """Every failure in its own words, once for all trials that share them."""
    found = failures(status)
    if not found:
        return None
    rows = Table.grid(padding=(0, GAP, 0, 0))
    for (reason, message), trials in found.items():
        rows.add_row(Text(f"trial{'s' if len(trials) > 1 else ''} {numbers(trials)}"), Text(reason, style="red"), Text(message))
    return Group(Text("Went wrong", style="bold"), Padding(rows, (0, 0, 1, 2)))


def _cost(status: StudyStatus) -> RenderableType:
    cost = Text.assemble(("Cost ", "bold"), cost_line(status))
    return Text.assemble(("Ended ", "bold"), f"before its last trial: {status.record.stopped}\n\n", cost) if status.record.stopped else cost


def _next(status: StudyStatus, width: int) -> RenderableType:
    """Commands stay whole, to be copied; what they are good for is said where there is room."""
    commands = next_commands(status)
    longest = max(len(command) for command, _ in commands)
    said = longest + max(len(purpose) for _, purpose in commands) + 4 <= width
    lines = [Text.assemble("  ", (command.ljust(longest), "cyan"), (f"  {purpose}" * said, "dim")) for command, purpose in commands]
    return Group(Text(), Text("Next", style="bold"), *lines)


def _activity(status: StudyStatus) -> Text:
    """Who works on the study."""
    if status.ended:
        return Text("ended", style="green")
    if status.controller_alive:
        return Text("running", style="cyan")
    if status.elsewhere and status.controller is not None:
        return Text(f"last controlled from {status.controller.host}", style="yellow")
    return Text("not running: no controller is alive", style="yellow")


def _best_line(status: StudyStatus) -> Text:
    best = status.best
    if best is None or not best.values:
        return Text(f"no best yet  {definition(status.record.objectives[0])}", style="dim")
    value, _, where = best_words(status).partition(" ")
    return Text.assemble("best ", (value, "bold green"), f"  {where[1:-1]}  ", (definition(status.record.objectives[0]), "dim"))


def _bar(status: StudyStatus, width: int) -> Text:
    """All that was asked for, in the colours of the states of those that ended."""
    if status.full_runs is not None:
        cells = round(status.progress * width)
        return Text("━" * cells, style=STYLES[TrialState.COMPLETE]).append("━" * (width - cells), style="bright_black")
    total = max(status.record.n_trials, len(status.trials), 1)
    bar, drawn, done = Text(), 0, 0
    for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING):
        done += status.counts[state]
        cells = round(done * width / total) - drawn
        bar.append("━" * cells, style=STYLES[state])
        drawn += cells
    return bar.append("━" * (width - drawn), style="bright_black")

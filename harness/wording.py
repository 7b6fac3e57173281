"""Numbers, names and changes as plain text, one line each; decides nothing, and knows no terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from harness.status import StudyStatus
from harness.trial_status import TrialStatus
from harness.types import Objective, Params, Reason, Reduction, Slot, TrialResult, TrialState

BLOCKS = "▁▂▃▄▅▆▇█"
NOT_FINITE = "!"
MISSING = object()  # a knob that the trial does not have
_LONGEST_TEXT = 18


def short_names(knobs: Iterable[str]) -> dict[str, str]:
    """Each knob's last segment, behind a parent where it is taken or a single letter; the whole key where nothing shorter will do."""
    keys = {knob: knob.lstrip("+").split(".") for knob in knobs}
    names = {knob: _tail(parts, 1 if len(parts[-1]) == 1 else 0) for knob, parts in keys.items()}
    for depth in range(1, max((len(parts) for parts in keys.values()), default=0)):
        taken = list(names.values())
        names = {knob: name if taken.count(name) == 1 else _tail(keys[knob], depth) for knob, name in names.items()}
    taken = list(names.values())
    return {knob: name if taken.count(name) == 1 else knob for knob, name in names.items()}


def _tail(parts: Sequence[str], parent: int) -> str:
    """The last segment, behind its parent of that degree."""
    return f"{parts[-1 - parent]}_{parts[-1]}" if 0 < parent < len(parts) else parts[-1]


def compact(value: object) -> str:
    """A knob's value in few characters: 1.2e-05, 0.003, 16, true, null."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:.3g}"
    return shortened(str(value), _LONGEST_TEXT)


def shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def knob_cells(values: Sequence[object]) -> list[str]:
    """One knob's column: compact, with the decimal points below each other; MISSING is empty."""
    texts = ["" if value is MISSING else compact(value) for value in values]
    if all(isinstance(value, float) and "e" in text for value, text in zip(values, texts, strict=True)):
        return [f"{value:.2e}" for value in values]
    pairs = zip(values, texts, strict=True)
    behind = [len(text) - text.find(".") if isinstance(value, float) and "." in text else 0 for value, text in pairs]
    return [text + " " * (max(behind) - own) if own else text for text, own in zip(texts, behind, strict=True)]


def exact(value: object) -> str:
    """A knob's value to be copied."""
    if isinstance(value, float):
        return repr(value)
    return compact(value) if value is None or isinstance(value, bool) else str(value)


def aligned(values: Sequence[float | None]) -> list[str]:
    """A column of numbers with the same count of decimals, about four digits of the largest; empty where there is none."""
    largest = max((abs(value) for value in values if value is not None and math.isfinite(value)), default=0.0)
    if largest and not 1e-3 <= largest < 1e6:
        return ["" if value is None else f"{value:.3e}" for value in values]
    decimals = max(0, 3 - max(math.floor(math.log10(largest)), -1)) if largest else 1
    return ["" if value is None else f"{value:.{decimals}f}" for value in values]


def interval(middle: float, half_width: float | None) -> str:
    """`0.892 ± 0.012`: two digits of the half width, and as many decimals of what it is around."""
    if half_width is None:
        return f"{middle:.6g}"
    decimals = 1 - math.floor(math.log10(half_width)) if half_width else 0
    if not 0 < decimals < 8:
        return f"{middle:.6g} ± {half_width:.2g}"
    return f"{middle:.{decimals}f} ± {half_width:.{decimals}f}"


def gain(more: float, half_width: float | None) -> str:
    """`+0.21 ± 0.05`"""
    return f"{'+' if more >= 0 else ''}{interval(more, half_width)}"


def duration(seconds: float | None) -> str:
    """42s, 3m05s, 1h12m, 2d03h; empty where it is not known."""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def share(part: float | None) -> str:
    return "" if part is None else f"{100 * part:.0f} %"


def sparkline(curve: Sequence[tuple[int, float]], *, total_steps: int | None, low: float, high: float, width: int = 12) -> str:
    """The curve over the whole of its training, so that a run that is half done fills half the width; values from `low` to `high`.

    A cell shows the mean of its steps, or, where it has none, what the last one showed.
    """
    if not curve:
        return ""
    total = max(total_steps or 0, curve[-1][0], 1)
    cells: list[list[float]] = [[] for _ in range(width)]
    for step, value in curve:
        cells[min(max(math.ceil(step * width / total) - 1, 0), width - 1)].append(value)
    filled = [index for index, cell in enumerate(cells) if cell]
    drawn, last = "", " "
    for cell in cells[: filled[-1] + 1]:
        last = _block(sum(cell) / len(cell), low, high) if cell else last
        drawn += last
    return drawn


def _block(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return NOT_FINITE
    span = high - low
    place = min(max((value - low) / span, 0.0), 1.0) if 0 < span < math.inf else 0.5
    return BLOCKS[round(place * (len(BLOCKS) - 1))]


def definition(objective: Objective) -> str:
    """What the objective's number is: `maximize the last val-core/.../acc/mean@1`."""
    words = {
        Reduction.LAST: "the last value of",
        Reduction.BEST: "the best value of",
        Reduction.MEAN_LAST: f"the mean of the last {objective.window} values of",
        Reduction.AREA: "the time-averaged value of",
    }
    return f"{objective.direction} {words[objective.reduction]} {objective.metric}"


def cause(state: TrialState, reason: Reason | None) -> str:
    """The state, with its reason where that says more: `COMPLETE`, `PRUNED user`, `FAIL crashed`."""
    if reason is None or reason in (Reason.FINISHED, Reason.PRUNED):
        return str(state)
    return f"{state} {reason}"


def knob_line(params: Params, names: Mapping[str, str]) -> str:
    """`lr=1.2e-05 kl_coef=0.003 rollout_n=4`"""
    return " ".join(f"{names.get(knob, knob)}={compact(value)}" for knob, value in params.items())


def started_line(number: int, slot: Slot | str | None, params: Params, *, attempt: int = 0) -> str:
    """`trial 3 started on cpu:0  lr=1.2e-05 kl_coef=0.003 rollout_n=4`"""
    place = slot.name if isinstance(slot, Slot) else slot or "a slot"
    again = f" again (attempt {attempt})" if attempt else ""
    return f"trial {number} started{again} on {place}  {knob_line(params, short_names(params))}".rstrip()


def step_line(number: int, step: int, total_steps: int | None, metric: str, value: float | None) -> str:
    """`trial 3 step 10/30 val-core/openai/gsm8k/acc/mean@1=0.41`"""
    of = f"/{total_steps}" if total_steps else ""
    shown = "" if value is None else f" {metric}={value:.4g}"
    return f"trial {number} step {step}{of}{shown}"


def ended_line(trial: TrialResult | TrialStatus, objectives: Sequence[Objective]) -> str:
    """`trial 3 PRUNED at step 12: <message>`; a COMPLETE one with its values."""
    title = f"trial {trial.number} {cause(trial.state, trial.reason)} at step {trial.steps}"
    if trial.state is not TrialState.COMPLETE or not trial.values:
        return f"{title}: {trial.message}" if trial.message else title
    values = " ".join(f"{objective.metric}={value:.4g}" for objective, value in zip(objectives, trial.values, strict=False))
    return f"{title}: {values} after {duration(trial.seconds)}"


def summary_line(status: StudyStatus) -> str:
    """`study gsm8k: 21 of 30 trials ended (12 COMPLETE, 8 PRUNED, 1 FAIL), 3 RUNNING, best 0.412 (trial 7)`"""
    ended = ", ".join(f"{status.counts[state]} {state}" for state in TrialState if state.ended and status.counts[state])
    going = "".join(f", {status.counts[state]} {state}" for state in (TrialState.RUNNING, TrialState.WAITING) if status.counts[state])
    best = f", best {best_words(status)}" if status.best else ""
    count = f"{status.told} of {status.record.n_trials} trials" if status.full_runs is None else f"{status.told} trials"
    told = f"{count} ended" + (f" ({ended})" if ended else "") + (f", {full_runs(status)}" if status.full_runs is not None else "")
    return f"study {status.record.name}: {told}{going}{best}"


def full_runs(status: StudyStatus) -> str:
    """`7.4 of 12 full runs`"""
    return f"{status.full_runs or 0.0:.1f} of {status.record.n_trials} full runs"


def best_words(status: StudyStatus) -> str:
    """`0.412 (trial 7)`, or `0.398 (mean of 3 seeds, trial 7)`; empty where there is no best."""
    known = status.best_mean()
    if known is None or status.best is None:
        return ""
    of = f"mean of {known[1]} seeds, " if known[1] > 1 else ""
    return f"{known[0]:.4g} ({of}trial {status.best.number})"


def changes(before: StudyStatus | None, after: StudyStatus) -> Iterator[str]:
    """One plain line for each thing that happened between two looks at a study; without a first look, where it stands."""
    if before is None:
        yield summary_line(after)
    old = {trial.number: trial for trial in before.trials} if before else {}
    for trial in after.trials:
        earlier = old.get(trial.number)
        if earlier is trial or (before is None and trial.state is not TrialState.RUNNING):
            continue
        yield from _trial_changes(earlier, trial, after.record.objectives)
    if before and after.best and (before.best is None or before.best.number != after.best.number):
        value, seeds = after.best_mean() or (math.nan, 1)
        yield f"best so far: trial {after.best.number} with {value:.4g}" + (f", the mean of {seeds} seeds" if seeds > 1 else "")


def _trial_changes(earlier: TrialStatus | None, trial: TrialStatus, objectives: Sequence[Objective]) -> Iterator[str]:
    began = earlier is not None and (earlier.state is TrialState.RUNNING or earlier.reason is Reason.PAUSED)
    attempts = earlier.attempts if earlier is not None and began else 0
    if trial.slot and trial.attempts > attempts:
        yield started_line(trial.number, trial.slot, trial.params, attempt=trial.attempts - 1)
    if trial.curve and (earlier is None or trial.curve[-1] not in earlier.curve[-1:]):
        step, value = trial.curve[-1]
        yield step_line(trial.number, step, trial.total_steps, objectives[0].metric, value)
    if trial.state.ended:
        yield ended_line(trial, objectives)
    elif (
        trial.message
        and (trial.state is TrialState.RUNNING or trial.reason is Reason.PAUSED)
        and not (earlier and earlier.message == trial.message)
    ):
        yield f"trial {trial.number}: {trial.message}"

"""Reads one swept override of Hydra as an Optuna distribution; refuses what Optuna cannot express, one sentence each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, QuotedString, RangeSweep, Transformer
from hydra.errors import HydraException
from optuna.distributions import BaseDistribution, CategoricalChoiceType, CategoricalDistribution, FloatDistribution, IntDistribution

from harness.errors import SpaceError

LOG = "log"


@dataclass(frozen=True, kw_only=True, slots=True)
class Swept:
    """A distribution, and the Hydra text of those choices which Optuna only knows as a string: lists."""

    distribution: BaseDistribution
    texts: Mapping[str, str] = field(default_factory=dict)


def read_sweep(override: Override) -> Swept:
    """Raises SpaceError. The order of choices is the written one even under shuffle(): Optuna refuses to resume a reordered choice."""
    name = override.get_key_element()
    if override.is_interval_sweep():
        return Swept(distribution=_interval(name, override))
    if override.is_range_sweep():
        return Swept(distribution=_range(name, override))
    return _choice(name, _choices_of(name, override))


def _interval(name: str, override: Override) -> BaseDistribution:
    sweep = override.value()
    assert isinstance(sweep, IntervalSweep)
    low, high = sweep.start, sweep.end
    assert low is not None
    assert high is not None
    got = f"got interval({low!r}, {high!r})"
    if not (math.isfinite(low) and math.isfinite(high)):
        raise SpaceError(f"{name}: expected interval(low, high) with finite bounds, {got}")
    if not low < high:
        raise SpaceError(f"{name}: expected interval(low, high) with low < high, {got}")
    log = _is_log(name, sweep.tags)
    if log and low <= 0:
        raise SpaceError(f"{name}: expected tag(log, interval(low, high)) with low > 0, {got}")
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)


def _range(name: str, override: Override) -> BaseDistribution:
    """As in Hydra, `stop` is not a value of the range and a negative step counts down (to Optuna the same set)."""
    sweep = override.value()
    assert isinstance(sweep, RangeSweep)
    assert sweep.start is not None
    assert sweep.stop is not None
    start, stop, step = sweep.start, sweep.stop, sweep.step
    got = f"got range({start!r}, {stop!r}, step={step!r})"
    if not all(math.isfinite(bound) for bound in (start, stop, step)):
        raise SpaceError(f"{name}: expected range(start, stop, step) with finite numbers, {got}")
    if step == 0:
        raise SpaceError(f"{name}: expected range(start, stop, step) with a step that is not 0, {got}")
    count = math.ceil((_exact(stop) - _exact(start)) / _exact(step))
    if count <= 0:
        raise SpaceError(f"{name}: expected range(start, stop, step) with one value at least (stop is not one of them), {got}")
    log = _is_log(name, sweep.tags)
    whole = all(isinstance(bound, int) for bound in (start, stop, step))
    if sweep.shuffle:
        if log:
            raise SpaceError(f"{name}: shuffle() makes a choice of the range, and a choice has no log scale, {got}")
        return CategoricalDistribution(steps(start, step, count, whole=whole))
    if log and not (whole and abs(step) == 1):
        raise SpaceError(f"{name}: Optuna has no log scale with a step; write tag(log, interval(low, high)), {got}")
    first, last = steps(start, step * (count - 1) if whole else float(_exact(step) * (count - 1)), 2, whole=whole)
    low, high = min(first, last), max(first, last)
    if log and low <= 0:
        raise SpaceError(f"{name}: expected a log range above 0, {got}")
    if whole:
        return IntDistribution(int(low), int(high), log=log, step=1 if log else abs(int(step)))
    return FloatDistribution(low, high, step=abs(step))


def steps(start: float, step: float, count: int, *, whole: bool) -> list[int] | list[float]:
    """`count` values from `start`, in the decimals that were written: 0.1 + 2 * 0.1 is 0.3."""
    if whole:
        return [int(start) + index * int(step) for index in range(count)]
    return [float(_exact(start) + index * _exact(step)) for index in range(count)]


def _exact(number: float) -> Fraction:
    return Fraction(str(number))


def _is_log(name: str, tags: Iterable[str]) -> bool:
    unknown = sorted(set(tags) - {LOG})
    if unknown:
        raise SpaceError(f"{name}: unknown tag {unknown[0]!r}; the only tag is log, as in tag(log, interval(1e-6, 1e-4))")
    return LOG in tags


def _choices_of(name: str, override: Override) -> Sequence[object]:
    sweep = override.value()
    if isinstance(sweep, ChoiceSweep):
        if _is_log(name, sweep.tags):
            raise SpaceError(f"{name}: a choice has no log scale; write tag(log, interval(low, high))")
        return sweep.list
    try:
        options = list(override.sweep_iterator())
    except HydraException as error:
        raise SpaceError(f"{name}: glob() works only on a config group of this application: {error}") from error
    if not options:
        raise SpaceError(f"{name}: {override.get_value_string()} matches no option of the config group")
    return options


def _choice(name: str, elements: Sequence[object]) -> Swept:
    texts: dict[str, str] = {}
    choices: list[CategoricalChoiceType] = []
    for element in elements:
        choice = _optuna_choice(name, element, texts)
        # Optuna looks choices up by ==, so that 1, 1.0 and true are one choice to it.
        same = [earlier for earlier in choices if earlier == choice]
        if same:
            raise SpaceError(f"{name}: choices {same[0]!r} and {choice!r} are the same to Optuna; keep one of them")
        choices.append(choice)
    return Swept(distribution=CategoricalDistribution(choices), texts=texts)


def _optuna_choice(name: str, element: object, texts: dict[str, str]) -> CategoricalChoiceType:
    if isinstance(element, QuotedString):
        return element.text
    if isinstance(element, float) and math.isnan(element):
        raise SpaceError(f"{name}: nan is no number to choose, since it does not equal itself; write 'nan' in quotes for the string")
    if element is None or isinstance(element, str | int | float):
        return element
    if isinstance(element, list):
        text = Transformer.str(element)
        texts[text] = text
        return text
    if isinstance(element, dict):
        written = Transformer.str(element)
        raise SpaceError(f"{name}: {written} cannot be a choice, for Hydra would merge it into what is there; sweep its keys one by one")
    raise SpaceError(f"{name}: {element!r} cannot be a choice; choices are numbers, strings, booleans, null or lists")

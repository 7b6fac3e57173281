"""The search space of a study, from command line and yaml; refuses a space that is empty, doubled or about Hydra itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import ConfigCompositionException, HydraException
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
    json_to_distribution,
)

from harness.errors import SpaceError
from sweeps.grammar import read_sweep, steps

_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_NOT_A_STRING = {"null", "true", "false", "inf", "nan"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """What is swept and what is held.

    A parameter's name is its key as written, prefix and package included (`+x`, `db@source`), the name hydra-optuna-sweeper
    gives it too: its studies can be continued, and its custom search spaces find `trial.params["+x"]`.
    """

    distributions: Mapping[str, BaseDistribution]
    fixed: tuple[str, ...] = ()  # overrides that every trial gets as they were written
    texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # name -> choice -> Hydra's text of a list

    @property
    def prefixes(self) -> dict[str, str]:
        """`+` or `++` of those parameters that have one."""
        return {name: name[: len(name) - len(bare_key(name))] for name in self.distributions if name != bare_key(name)}

    @property
    def size(self) -> int | None:
        """How many points the space has; None where it is infinite."""
        count = 1
        for distribution in self.distributions.values():
            values = finite_values(distribution)
            if values is None:
                return None
            count *= len(values)
        return count

    def overrides(self, point: Mapping[str, object]) -> tuple[str, ...]:
        """A point (`trial.params`) as overrides that Hydra reads back as the very same values; `fixed` is not among them."""
        return tuple(f"{name}={self._text(name, value)}" for name, value in point.items())

    def arguments(self, point: Mapping[str, object]) -> tuple[str, ...]:
        """All that one trial adds to its config: what is held first, so that a point may go into a `+group={}` made there."""
        return (*self.fixed, *self.overrides(point))

    def _text(self, name: str, value: object) -> str:
        if name not in self.distributions and _reads_as_container(value):
            return str(value)  # a custom search space has no other way to suggest a list, for Optuna has none
        known = self.texts.get(name, {})
        return known[value] if isinstance(value, str) and value in known else render_value(value)


def parse_space(
    overrides: Sequence[str],
    params: Mapping[str, object],
    config_loader: ConfigLoader | None = None,
    *,
    allow_empty: bool = False,
) -> Space:
    """`overrides` of the command line supersede `params` (the mapping hydra.sweeper.params) key by key.

    `config_loader` lists the options for glob(). `allow_empty` is for a study whose custom search space suggests everything.
    Raises SpaceError, and HydraException for a sweep over Hydra's own configuration.
    """
    parser = OverridesParser.create(config_loader)
    given = [_parse(parser, line, where="command line") for line in overrides]
    standing = [_parse(parser, _params_line(key, value), where="hydra.sweeper.params") for key, value in params.items()]
    _refuse_doubles(given, where="on the command line")
    _refuse_doubles(standing, where="in hydra.sweeper.params")
    superseded = {_identity(override) for override in given}
    everything = [*(override for override in standing if _identity(override) not in superseded), *given]
    refuse_hydra_sweep(everything)
    swept = {override.get_key_element(): read_sweep(override) for override in everything if override.is_sweep_override()}
    if not swept and not allow_empty:
        raise SpaceError("the search space is empty: sweep one key at least, as in 'lr=choice(1e-6,1e-5)' or in hydra.sweeper.params")
    return Space(
        distributions={name: sweep.distribution for name, sweep in swept.items()},
        fixed=tuple(str(override.input_line) for override in everything if not override.is_sweep_override()),
        texts={name: sweep.texts for name, sweep in swept.items() if sweep.texts},
    )


def refuse_hydra_sweep(overrides: Iterable[Override]) -> None:
    """Raises HydraException in the words of Hydra's own check, which its launcher tests match."""
    for override in overrides:
        if override.is_sweep_override() and override.is_hydra_override():
            raise ConfigCompositionException(f"Sweeping over Hydra's configuration is not supported : '{override.input_line}'")


def bare_key(name: str) -> str:
    """`x` for `x`, `+x`, `++x` and `~x`."""
    return name.lstrip("+~")


def render_value(value: object) -> str:
    """Hydra's text of one value. Floats stay floats (1e-05, 1.0), strings are quoted where Hydra would read something else."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real):
        return repr(float(value))
    if not isinstance(value, str):
        raise SpaceError(f"{value!r} cannot be written as a Hydra override; suggest numbers, strings, booleans or None")
    if _BARE.fullmatch(value) and value.lower() not in _NOT_A_STRING:
        return value
    return QuotedString(text=value, quote=Quote.single).with_quotes()


def finite_values(distribution: BaseDistribution) -> Sequence[object] | None:
    """Every value, or None where there are infinitely many."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        count = round((distribution.high - distribution.low) / distribution.step) + 1
        return steps(distribution.low, distribution.step, count, whole=False)
    return None


def describe(distribution: BaseDistribution) -> str:
    """A distribution as its user would write it."""
    if isinstance(distribution, CategoricalDistribution):
        return f"choice({','.join(map(render_value, distribution.choices))})"
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    low, high, step = distribution.low, distribution.high, distribution.step
    if isinstance(distribution, FloatDistribution) and step is not None:
        return f"{low} to {high} in steps of {step}"
    text = f"interval({low}, {high})"
    if isinstance(distribution, IntDistribution):
        text = f"int({text})" if step == 1 else f"{low} to {high} in steps of {step}"
    return f"tag(log, {text})" if distribution.log else text


def space_signature(space: Space) -> dict[str, str]:
    """Name to Optuna's own JSON of its distribution: what a study must keep from one launch to the next."""
    return {name: distribution_to_json(distribution) for name, distribution in sorted(space.distributions.items())}


def compare_spaces(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """One sentence for each difference of two signatures; none where they ask the same question."""
    sentences = []
    for name in sorted({*old, *new}):
        before = json_to_distribution(old[name]) if name in old else None
        after = json_to_distribution(new[name]) if name in new else None
        if before is None and after is not None:
            sentences.append(f"{name}: was not swept, now {describe(after)}")
        elif after is None and before is not None:
            sentences.append(f"{name}: was {describe(before)}, now not swept")
        elif before != after and before is not None and after is not None:
            sentences.append(f"{name}: was {describe(before)}, now {describe(after)}")
    return sentences


def _parse(parser: OverridesParser, line: str, *, where: str) -> Override:
    try:
        override = parser.parse_override(line)
    except HydraException as error:
        raise SpaceError(f"{line!r} ({where}) is not a Hydra override: {_first_line(error)}") from error
    override.config_loader = parser.config_loader  # glob() asks it for a group's options
    return override


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _params_line(key: object, value: object) -> str:
    if isinstance(value, str):
        return f"{key}={value}"
    if isinstance(value, Mapping):
        raise SpaceError(f"hydra.sweeper.params.{key}: write nested keys flat, as in '{key}.lr: interval(0, 1)', got a mapping")
    if isinstance(value, Sequence):
        raise SpaceError(f"hydra.sweeper.params.{key}: write choice(...) to sweep or '[...]' in quotes for one list, got {value!r}")
    if value is None and str(key).startswith("~"):
        return str(key)
    return f"{key}={render_value(value)}"


def _identity(override: Override) -> tuple[str, str | None]:
    return override.key_or_group, override.package


def _refuse_doubles(overrides: Iterable[Override], *, where: str) -> None:
    first: dict[tuple[str, str | None], Override] = {}
    for override in overrides:
        if override.is_delete():
            continue  # '~db' before '+db=...' is how Hydra replaces a group
        earlier = first.setdefault(_identity(override), override)
        if earlier is not override:
            raise SpaceError(f"{override.key_or_group} is given twice {where}: {earlier.input_line!r} and {override.input_line!r}")


def _reads_as_container(value: object) -> bool:
    if not isinstance(value, str) or value[:1] not in ("[", "{"):
        return False
    try:
        return isinstance(OverridesParser.create().parse_override(f"x={value}").value(), list | dict)
    except HydraException:
        return False

"""From a space to what each trial is launched with, and from one launch of a study to the next."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from harness.errors import SpaceError
from sweeps.space import Space, bare_key, compare_spaces, parse_space, render_value, space_signature

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.text(alphabet="\\'\" ,:={}[]()$aN.1e-\n\t")
)


def hydras_value(line: str) -> object:
    return OverridesParser.create().parse_override(line).value()


@given(value=scalars)
@example(value=1e-05)
@example(value=1e16)
@example(value="1e-05")
@example(value="null")
@example(value="${oc.env:HOME}")
@example(value="a\\'b\\")
@example(value="")
@example(value=" ")
@example(value="TRUE")
@example(value="choice(1,2)")
def test_hydra_reads_back_the_very_same_value(value: object) -> None:
    read = hydras_value(f"x={render_value(value)}")
    assert read == value
    assert type(read) is type(value)


def test_nan_stays_nan() -> None:
    read = hydras_value(f"x={render_value(math.nan)}")
    assert isinstance(read, float)
    assert math.isnan(read)


@given(choices=st.lists(scalars, min_size=2, max_size=5).filter(lambda some: len(set(some)) == len(some)))
def test_every_choice_survives_from_command_line_to_trial(choices: list[object]) -> None:
    space = parse_space([f"x={','.join(map(render_value, choices))}"], {})
    distribution = space.distributions["x"]
    assert isinstance(distribution, CategoricalDistribution)
    assert list(distribution.choices) == choices
    assert [hydras_value(space.overrides({"x": choice})[0]) for choice in distribution.choices] == choices


def test_lists_reach_the_trial_as_lists() -> None:
    space = parse_space(["x=choice([1,'a b',[c]],[{k:0.1}],'[1]')"], {})
    distribution = space.distributions["x"]
    assert isinstance(distribution, CategoricalDistribution)
    read = [hydras_value(space.overrides({"x": choice})[0]) for choice in distribution.choices]
    assert read == [[1, "a b", ["c"]], [{"k": 0.1}], "[1]"]


def test_a_swept_key_keeps_its_prefix_and_package() -> None:
    space = parse_space(["+a=1,2", "++b.c=interval(0,1)", "db@source=mysql,postgres", "d=1,2"], {})
    assert space.prefixes == {"+a": "+", "++b.c": "++"}
    point = {"+a": 2, "++b.c": 0.5, "db@source": "mysql", "d": 1}
    assert space.overrides(point) == ("+a=2", "++b.c=0.5", "db@source=mysql", "d=1")
    assert [bare_key(name) for name in point] == ["a", "b.c", "db@source", "d"]


def test_what_is_not_swept_goes_to_every_trial_as_it_was_written() -> None:
    space = parse_space(["+foo='a, b'", "~bar", "db=mysql", "~db2=x", "lr=1,2", "y=[1,2]", "z="], {})
    assert space.fixed == ("+foo='a, b'", "~bar", "db=mysql", "~db2=x", "y=[1,2]", "z=")
    assert space.arguments({"lr": 2}) == (*space.fixed, "lr=2")


def test_the_command_line_supersedes_params_key_by_key() -> None:
    params = {"lr": "interval(0, 1)", "n": "choice(4, 8)", "kl": "range(1, 4)", "+seed": 1}
    space = parse_space(["lr=0.5", "+kl=1,2", "~seed"], params)
    assert space.distributions == {"n": CategoricalDistribution((4, 8)), "+kl": CategoricalDistribution((1, 2))}
    assert space.fixed == ("lr=0.5", "~seed")


@pytest.mark.parametrize(
    ("value", "line"),
    [(1, "x=1"), (1e-05, "x=1e-05"), (True, "x=true"), (None, "x=null"), ("'a,b'", "x='a,b'"), ("", "x=")],
)
def test_plain_values_of_params_are_fixed(value: object, line: str) -> None:
    assert parse_space(["lr=1,2"], {"x": value}).fixed == (line,)


@pytest.mark.parametrize(
    ("overrides", "params", "sentence"),
    [
        ([], {}, "the search space is empty"),
        (["x=1"], {"y": 2}, "the search space is empty"),
        (["x=1,2", "x=3"], {}, "x is given twice on the command line: 'x=1,2' and 'x=3'"),
        (["x=1,2", "+x=3"], {}, "x is given twice on the command line"),
        ([], {"x": "1,2", "+x": 1}, "x is given twice in hydra.sweeper.params"),
        ([], {"db": {"lr": "1,2"}}, "hydra.sweeper.params.db: write nested keys flat, as in 'db.lr: interval(0, 1)'"),
        ([], {"x": [1, 2]}, "hydra.sweeper.params.x: write choice(...) to sweep or '[...]' in quotes"),
        ([], {"x": "choice(1"}, "'x=choice(1' (hydra.sweeper.params) is not a Hydra override"),
        ([], {"hello world": "1,2"}, "(hydra.sweeper.params) is not a Hydra override"),
    ],
)
def test_a_bad_space_gets_one_sentence(overrides: list[str], params: Mapping[str, object], sentence: str) -> None:
    with pytest.raises(SpaceError, match=re.escape(sentence)) as caught:
        parse_space(overrides, params)
    assert "\n" not in str(caught.value)


def test_a_group_may_be_deleted_and_then_added() -> None:
    assert parse_space(["~db", "+db=a,b"], {}).arguments({"+db": "a"}) == ("~db", "+db=a")


def test_an_empty_space_is_allowed_where_a_custom_one_fills_it() -> None:
    assert parse_space(["x=1"], {}, allow_empty=True) == Space(distributions={}, fixed=("x=1",))


def test_the_size_is_the_number_of_points() -> None:
    assert parse_space(["x=1,2", "y=range(0,1,0.25)", "z=int(interval(1,3))"], {}).size == 24
    assert parse_space(["x=1,2", "y=interval(0,1)"], {}).size is None


def test_the_signature_survives_json_and_equals_itself() -> None:
    space = parse_space(["lr=tag(log,interval(1e-6,1e-4))", "n=4,8", "k=range(1,9,2)"], {})
    signature = space_signature(space)
    assert json.loads(json.dumps(signature)) == signature
    assert compare_spaces(signature, space_signature(space)) == []


def test_every_difference_of_two_spaces_is_one_sentence() -> None:
    old = space_signature(parse_space(["lr=tag(log,interval(1e-6,1e-4))", "n=4,8", "k=int(interval(1,3))", "same=1,2"], {}))
    new = space_signature(parse_space(["lr=interval(1e-6,1e-4)", "m=range(0,1,0.5)", "k=range(1,9,2)", "same=1,2"], {}))
    assert compare_spaces(old, new) == [
        "k: was int(interval(1, 3)), now 1 to 7 in steps of 2",
        "lr: was tag(log, interval(1e-06, 0.0001)), now interval(1e-06, 0.0001)",
        "m: was not swept, now 0.0 to 0.5 in steps of 0.5",
        "n: was choice(4,8), now not swept",
    ]


def test_a_space_is_built_from_distributions_alone() -> None:
    space = Space(distributions={"lr": FloatDistribution(0, 1), "n": IntDistribution(1, 4)})
    assert space.overrides({"lr": 1.0, "n": 2}) == ("lr=1.0", "n=2")

"""What each form of Hydra's sweep grammar means to Optuna, and which sentence a bad one gets."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import RangeSweep
from hydra.errors import HydraException
from hypothesis import assume, given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from harness.errors import SpaceError
from sweeps.space import finite_values, parse_space


def parse_one(text: str) -> BaseDistribution:
    (distribution,) = parse_space([text], {}).distributions.values()
    return distribution


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x=1,2,3", CategoricalDistribution((1, 2, 3))),
        ("x=choice(a,b)", CategoricalDistribution(("a", "b"))),
        ("x=choice(1.5)", CategoricalDistribution((1.5,))),
        ("x=10,0.1,true,test,null", CategoricalDistribution((10, 0.1, True, "test", None))),
        ("x='a b',\"c,d\"", CategoricalDistribution(("a b", "c,d"))),
        ("x=str(choice(1,2))", CategoricalDistribution(("1", "2"))),
        ("x=sort(3,1,2)", CategoricalDistribution((1, 2, 3))),
        ("x=sort(choice(1,3,2),reverse=true)", CategoricalDistribution((3, 2, 1))),
        ("x=shuffle(3,1,2)", CategoricalDistribution((3, 1, 2))),
        ("x=shuffle(range(1,4))", CategoricalDistribution((1, 2, 3))),
        ("x=choice([1,2],[3])", CategoricalDistribution(("[1,2]", "[3]"))),
        ("x=range(1,4)", IntDistribution(1, 3)),
        ("x=range(4)", IntDistribution(0, 3)),
        ("x=range(0,10,3)", IntDistribution(0, 9, step=3)),
        ("x=range(5,1,step=-2)", IntDistribution(3, 5, step=2)),
        ("x=range(0,1,step=0.1)", FloatDistribution(0.0, 0.9, step=0.1)),
        ("x=range(0.5,5.5,step=1)", FloatDistribution(0.5, 4.5, step=1.0)),
        ("x=float(range(1,4))", FloatDistribution(1.0, 3.0, step=1.0)),
        ("x=int(range(0.5,4.5))", IntDistribution(0, 3)),
        ("x=tag(log,range(1,9))", IntDistribution(1, 8, log=True)),
        ("x=interval(1,5)", FloatDistribution(1.0, 5.0)),
        ("x=int(interval(1,5))", IntDistribution(1, 5)),
        ("x=float(int(interval(1,5)))", FloatDistribution(1.0, 5.0)),
        ("x=tag(log,interval(1e-6,1e-4))", FloatDistribution(1e-6, 1e-4, log=True)),
        ("x=tag(log,int(interval(1,64)))", IntDistribution(1, 64, log=True)),
        ("x=int(tag(log,interval(1,64)))", IntDistribution(1, 64, log=True)),
    ],
)
def test_each_form_becomes_its_distribution(text: str, expected: BaseDistribution) -> None:
    assert parse_one(text) == expected
    assert type(parse_one(text)) is type(expected)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("lr=interval(1e-3,1e-5)", "lr: expected interval(low, high) with low < high, got interval(0.001, 1e-05)"),
        ("lr=interval(1,1)", "lr: expected interval(low, high) with low < high, got interval(1.0, 1.0)"),
        ("lr=int(interval(1.2,1.8))", "lr: expected interval(low, high) with low < high, got interval(1, 1)"),
        ("lr=interval(0,inf)", "lr: expected interval(low, high) with finite bounds, got interval(0.0, inf)"),
        ("lr=interval(nan,1)", "finite bounds"),
        ("lr=tag(log,interval(0,1))", "lr: expected tag(log, interval(low, high)) with low > 0"),
        ("lr=tag(log,interval(-1,1))", "with low > 0"),
        ("lr=tag(loog,interval(1,2))", "lr: unknown tag 'loog'; the only tag is log"),
        ("lr=tag(log,choice(1,2))", "lr: a choice has no log scale"),
        ("lr=tag(log,range(1,9,2))", "lr: Optuna has no log scale with a step"),
        ("lr=tag(log,range(0.1,0.9,0.1))", "no log scale with a step"),
        ("lr=tag(log,range(0,9))", "lr: expected a log range above 0"),
        ("lr=tag(log,shuffle(range(1,9)))", "a choice has no log scale"),
        ("lr=range(1,9,0)", "with a step that is not 0"),
        ("lr=range(1,9,-1)", "one value at least"),
        ("lr=range(3,3)", "one value at least"),
        ("lr=range(0,inf)", "finite numbers"),
        ("lr=1,2,1", "lr: choices 1 and 1 are the same to Optuna"),
        ("lr=1,1.0", "lr: choices 1 and 1.0 are the same to Optuna"),
        ("lr=1,true", "are the same to Optuna"),
        ("lr=[1],'[1]'", "are the same to Optuna"),
        ("lr=choice({a:1},{a:2})", "lr: {a:1} cannot be a choice, for Hydra would merge it into what is there; sweep its keys one by one"),
        ("lr=1,nan", "lr: nan is no number to choose, since it does not equal itself; write 'nan' in quotes for the string"),
        ("lr=choice()", "empty choice is not legal"),
        ("lr=interval(0,1,step=0.1)", "'lr=interval(0,1,step=0.1)' (command line) is not a Hydra override"),
        ("lr=oops(1,2)", "Unknown function 'oops'"),
        ("group=glob(*)", "group: glob() works only on a config group"),
    ],
)
def test_each_bad_form_gets_its_own_sentence(text: str, sentence: str) -> None:
    with pytest.raises(SpaceError, match=re.escape(sentence)):
        parse_space([text], {})


@pytest.mark.parametrize("text", ["hydra.verbose=true,false", "hydra/launcher=basic,other", "hydra.job.num=range(1,3)"])
def test_a_sweep_over_hydra_itself_keeps_hydras_sentence(text: str) -> None:
    with pytest.raises(HydraException, match=re.escape(f"Sweeping over Hydra's configuration is not supported : '{text}'")):
        parse_space([text], {})


def test_shuffle_keeps_the_written_order_so_that_a_study_can_be_continued() -> None:
    text = "x=shuffle(" + ",".join(map(str, range(50))) + ")"
    assert parse_one(text) == parse_one(text) == CategoricalDistribution(tuple(range(50)))


@given(start=st.integers(-50, 50), stop=st.integers(-50, 50), step=st.integers(-7, 7).filter(bool))
def test_an_int_range_holds_exactly_hydras_values(start: int, stop: int, step: int) -> None:
    hydras = range(start, stop, step)
    assume(len(hydras) > 0)
    values = finite_values(parse_one(f"x=range({start},{stop},{step})"))
    assert values is not None
    assert list(values) == sorted(hydras)


decimals = st.decimals(min_value=-10, max_value=10, places=3, allow_nan=False, allow_infinity=False)


@given(start=decimals, stop=decimals, step=st.decimals(min_value="0.05", max_value=3, places=2))
def test_a_float_range_holds_the_decimals_that_were_written_and_never_its_stop(start: Decimal, stop: Decimal, step: Decimal) -> None:
    assume(start < stop)
    written = [float(Fraction(start) + index * Fraction(step)) for index in range(1000) if start + index * step < stop]
    assert finite_values(parse_one(f"x=range({start},{stop},{step})")) == written


def test_a_float_range_equals_hydras_own_iteration() -> None:
    override = OverridesParser.create().parse_override("x=range(0,1,step=0.25)")
    sweep = override.value()
    assert isinstance(sweep, RangeSweep)
    assert finite_values(parse_one("x=range(0,1,step=0.25)")) == list(sweep.range())


@pytest.fixture
def optimisers(tmp_path_factory: pytest.TempPathFactory) -> Sequence[str]:
    folder = tmp_path_factory.mktemp("conf")
    (folder / "optim").mkdir()
    for name in ("adam", "adamw", "sgd"):
        (folder / "optim" / f"{name}.yaml").write_text("lr: 1\n")
    return [str(folder)]


def loader() -> ConfigLoader:
    return GlobalHydra.instance().config_loader()


def test_glob_lists_the_options_of_a_group(optimisers: Sequence[str]) -> None:
    with initialize_config_dir(optimisers[0], version_base="1.3"):
        space = parse_space(["+optim=glob(ad*)"], {}, loader())
        assert space.distributions == {"+optim": CategoricalDistribution(("adam", "adamw"))}
        assert compose(overrides=list(space.overrides({"+optim": "adamw"}))) == {"optim": {"lr": 1}}
        with pytest.raises(SpaceError, match=re.escape("optim: glob(z*) matches no option")):
            parse_space(["optim=glob(z*)"], {}, loader())


def test_the_space_needs_neither_torch_nor_verl_nor_ray() -> None:
    code = "import sys, sweeps.space, sweeps.custom_space, sweeps.samplers.build, sweeps.pruners.build; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"torch", "verl", "ray", "scipy", "cmaes"} & set(loaded)

"""A user's function adds parameters to a trial, and never those that are taken."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from omegaconf import DictConfig, OmegaConf
from optuna import Trial, create_study

from harness.errors import SpaceError
from sweeps.custom_space import load_custom_space, suggest_custom
from sweeps.space import parse_space

NOT_A_FUNCTION = 3


def configure(config: DictConfig, trial: Trial) -> None:
    """In the manner of hydra-optuna-sweeper's own example: bounds from the config and from what was suggested before."""
    trial.suggest_float("z", trial.params["x"] - config.reach, trial.params["x"])
    trial.suggest_categorical("+w", ["a b", "c"])


def suggest(custom: Callable[[DictConfig, Trial], object], *overrides: str) -> tuple[str, ...]:
    space = parse_space(overrides, {})
    trial = create_study().ask(fixed_distributions=dict(space.distributions))
    return suggest_custom(custom, OmegaConf.create({"reach": 2}), trial, space)


def test_what_the_function_adds_comes_back_as_overrides() -> None:
    z, w = suggest(load_custom_space(f"{__name__}.configure"), "x=interval(0,1)")
    assert re.fullmatch(r"z=-?\d.*", z)
    assert w in ("+w='a b'", "+w=c")


def test_a_string_that_reads_as_a_list_is_one_since_optuna_has_no_lists() -> None:
    assert suggest(lambda _, trial: trial.suggest_categorical("layers", ["[1,2]"]), "x=1,2") == ("layers=[1,2]",)
    assert suggest(lambda _, trial: trial.suggest_categorical("layers", ["[1,2"]), "x=1,2") == ("layers='[1,2'",)


@pytest.mark.parametrize("overrides", [("x=1,2", "z=1"), ("x=1,2", "+z=interval(0,1)"), ("x=1,2", "++w=1")])
def test_a_name_that_is_taken_is_refused(overrides: tuple[str, ...]) -> None:
    with pytest.raises(SpaceError, match=re.escape("which the command line or hydra.sweeper.params sets already")):
        suggest(configure, *overrides)


def test_a_parameter_suggested_again_with_another_distribution_is_refused() -> None:
    for again in (lambda _, trial: trial.suggest_float("x", 5, 6), lambda _, trial: trial.suggest_categorical("x", ["a"])):
        with pytest.raises(SpaceError, match="a second time, with another distribution"):
            suggest(again, "x=interval(0,1)")


def test_the_functions_own_error_falls_through() -> None:
    def broken(config: DictConfig, trial: Trial) -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match=r"^mine$"):
        suggest(broken, "x=1,2")


@pytest.mark.parametrize("path", ["no_such_module.configure", f"{__name__}.no_such_name", f"{__name__}.NOT_A_FUNCTION", "", "x"])
def test_a_bad_path_gets_one_sentence(path: str) -> None:
    with pytest.raises(
        SpaceError, match=re.escape(f"hydra.sweeper.custom_search_space: {'cannot import ' if 'NOT' not in path else ''}{path!r}")
    ):
        load_custom_space(path)

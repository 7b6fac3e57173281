"""What a study's knobs replace, in the words of its trials, through Hydra's own loader and verl's own tree."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from optuna.samplers import BaseSampler, GridSampler, RandomSampler

from harness.errors import ConfigError
from sweeps.compose import Composer
from sweeps.defaults import defaults, refuse_untriable
from sweeps.space import Space, describe, parse_space

OPTIM = "actor_rollout_ref.actor.optim"


@pytest.fixture(autouse=True)
def hydra_is_fresh(fresh_hydra: None) -> Iterator[None]:
    with initialize_config_module("conf", version_base="1.3"):
        yield


def asked(*arguments: str) -> tuple[Composer, Space]:
    loader = GlobalHydra.instance().config_loader()
    return Composer(loader, compose("config", return_hydra_config=True)), parse_space(arguments, {}, loader)


def test_knobs_replace_what_is_composed_without_them() -> None:
    replaced = {
        "lr=interval(0,1)": 1e-6,
        f"{OPTIM}.lr=interval(0,1)": 1e-6,  # by verl's own path it is the short name's
        f"{OPTIM}.betas=choice([0.9,0.95],[0.9,0.999])": "[0.9,0.999]",  # a list is the text that a trial has
        "critic.optim.betas=choice([0.9,0.95],[0.8,0.999])": "[0.9, 0.999]",
        f"{OPTIM}.warmup_style=null,cosine": None,
        "steps=interval(1,200)": 100.0,
        "trainer.test_freq=int(interval(1,200))": 10,
        "rollout_n=choice(4,8)": 8,
        "actor_rollout_ref.actor.use_kl_loss=choice(false,true)": True,
        "mini_batch_size=choice(64,128)": 128,  # follows batch_size
        "algorithm=choice(grpo,ppo)": "grpo",
        "critic.optim.weight_decay=interval(0,1)": 0.01,
    }
    found = defaults(*asked(*replaced))
    assert [(value, type(value)) for value in found.values()] == [(value, type(value)) for value in replaced.values()]


def test_what_the_study_holds_counts_as_the_default() -> None:
    composer, space = asked("adapter=lora", "batch_size=32", "lr=interval(0,1)", "mini_batch_size=choice(32,64)")
    assert defaults(composer, space) == {"lr": 1e-5, "mini_batch_size": 32}


def test_a_knob_that_exists_nowhere_has_none() -> None:
    composer, space = asked("+own.key=choice(1,2)", "lr=interval(0,1)", "data.train_files=choice(a,b)")
    assert defaults(composer, space).keys() == {"lr", "data.train_files"}


def refusal(*arguments: str, sampler: BaseSampler | None = None, custom: bool = False) -> str:
    composer, space = asked(*arguments)
    with pytest.raises(ConfigError) as caught:
        refuse_untriable(defaults(composer, space), space, sampler or RandomSampler(), custom=custom)
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "knob"),
    [
        (1e-6, "x=tag(log,interval(1e-5,1e-2))"),
        (8, "x=choice(2,4)"),
        (8, "x=range(2,8,4)"),
        (1.0, "x=range(0.25,2,0.5)"),
        (True, "x=choice(1,2)"),
        ("grpo", "x=choice(ppo,rloo)"),
        ("[1, 2]", "x=choice([1],[2])"),
    ],
)
def test_a_default_that_no_trial_could_have_is_refused_with_its_range_and_the_cure(value: object, knob: str) -> None:
    space = parse_space([knob], {})
    with pytest.raises(ConfigError) as caught:
        refuse_untriable({"x": value}, space, RandomSampler(), custom=False)
    sentence = f"x: its default {value!r} lies outside {describe(space.distributions['x'])}; widen that, or leave study.default_trial false"
    assert str(caught.value) == sentence


def test_what_has_no_default_or_is_tried_anyway_is_refused() -> None:
    assert "+own.key has no default" in refusal("+own.key=choice(1,2)")
    assert "a grid tries every point once" in refusal("rollout_n=choice(4,8)", sampler=GridSampler({"rollout_n": [4, 8]}))
    assert "custom_search_space" in refusal("rollout_n=choice(4,8)", custom=True)


def test_the_ends_of_a_range_hold_a_default() -> None:
    composer, space = asked("lr=tag(log,interval(1e-6,1e-3))", "rollout_n=choice(4,8)", "temperature=range(0.5,1.5,0.25)")
    found = defaults(composer, space)
    assert found == {"lr": 1e-6, "rollout_n": 8, "temperature": 1.0}
    refuse_untriable(found, space, RandomSampler(), custom=False)

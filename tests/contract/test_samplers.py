"""Every sampler yaml builds Optuna's own sampler, and any other class works by its `_target_`."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from optuna.samplers import BaseSampler, GridSampler, PartialFixedSampler, RandomSampler, TPESampler

from harness.errors import ConfigError
from sweeps.samplers.build import build_sampler
from sweeps.space import Space, parse_space

CONF = Path(__file__).parents[2] / "hydra_plugins" / "verl_sweep_conf"
NAMES = sorted(file.stem for file in (CONF / "hydra/sweeper/sampler").glob("*.yaml"))

MIXED = parse_space(["lr=tag(log,interval(1e-6,1e-4))", "n=int(interval(1,16))", "loss=ppo,gspo"], {})
FINITE = parse_space(["kl=range(0,1,0.25)", "n=range(1,9)", "loss=ppo,gspo"], {})
NEEDED = {"partial_fixed": ["hydra.sweeper.sampler.fixed_params={loss:ppo}"], "gp": ["hydra.sweeper.sampler.n_startup_trials=2"]}


def composed(name: str, *overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(overrides=["hydra/sweeper=verl_optuna", f"hydra/sweeper/sampler={name}", *overrides], return_hydra_config=True)
    sampler = OmegaConf.to_container(config.hydra.sweeper.sampler, resolve=True)
    assert isinstance(sampler, dict)
    return sampler  # type: ignore[return-value] # the keys of a sampler's yaml are strings


def space_for(name: str) -> Space:
    return FINITE if name in ("grid", "bruteforce") else MIXED


def propose(study: optuna.Study, space: Space, count: int) -> list[dict[str, Any]]:
    points = []
    for _ in range(count):
        trial = study.ask(fixed_distributions=dict(space.distributions))
        points.append(trial.params)
        study.tell(trial, float(trial.number % 3))
    return points


def test_the_sweeper_yaml_has_the_official_keys_and_a_pruner() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        sweeper = compose(overrides=["hydra/sweeper=verl_optuna"], return_hydra_config=True).hydra.sweeper
    assert {key: value for key, value in sweeper.items() if not OmegaConf.is_config(value)} == {
        "_target_": "hydra_plugins.verl_optuna_sweeper.VerlOptunaSweeper",
        "_recursive_": False,
        "direction": "minimize",
        "storage": None,
        "study_name": None,
        "n_trials": 20,
        "n_jobs": 2,
        "max_failure_rate": 0.0,
        "params": None,
        "custom_search_space": None,
    }
    assert sweeper.sampler._target_ == "optuna.samplers.TPESampler"
    assert sweeper.pruner._target_ == "optuna.pruners.NopPruner"


def test_the_official_names_are_all_here() -> None:
    assert {"tpe", "random", "cmaes", "nsgaii", "motpe", "grid"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_sampler_proposes_points_inside_the_space(name: str) -> None:
    space = space_for(name)
    sampler = build_sampler(composed(name, *NEEDED.get(name, [])), space, trials_so_far=0, study_seed=1)
    for point in propose(optuna.create_study(sampler=sampler), space, 5):
        for key, distribution in space.distributions.items():
            assert distribution._contains(distribution.to_internal_repr(point[key]))
        assert name != "partial_fixed" or point["loss"] == "ppo"


@pytest.mark.parametrize("name", NAMES)
def test_a_continued_study_proposes_something_other_than_its_trial_0(name: str) -> None:
    space, config = space_for(name), composed(name, *NEEDED.get(name, []))
    study = optuna.create_study(sampler=build_sampler(config, space, trials_so_far=0, study_seed=7))
    first = propose(study, space, 3)
    study.sampler = build_sampler(config, space, trials_so_far=3, study_seed=7)
    assert propose(study, space, 1)[0] not in first


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_proposes_the_same_points(name: str) -> None:
    space, config = space_for(name), composed(name, *NEEDED.get(name, []))
    one, other = (propose(optuna.create_study(sampler=build_sampler(config, space, trials_so_far=0, study_seed=3)), space, 3) for _ in "ab")
    assert one == other


def test_a_continued_grid_visits_every_point_exactly_once() -> None:
    study = optuna.create_study()
    points = []
    for launch in range(4):
        study.sampler = build_sampler(composed("grid"), FINITE, trials_so_far=launch * 15, study_seed=7)
        points += propose(study, FINITE, 15)
    assert FINITE.size == 64
    assert len({tuple(sorted(point.items())) for point in points}) == 60


@pytest.mark.parametrize("name", ["grid", "bruteforce"])
def test_a_sampler_of_every_point_refuses_an_infinite_space(name: str) -> None:
    with pytest.raises(ConfigError, match=re.escape("lr: this sampler tries every point, and tag(log, interval(1e-06, 0.0001))")):
        build_sampler(composed(name), MIXED, trials_so_far=0, study_seed=None)


def test_a_grid_may_name_its_values_and_must_name_every_key() -> None:
    values = {"lr": [1e-6, 1e-5], "n": [1], "loss": ["ppo"]}
    sampler = build_sampler(composed("grid") | {"search_space": values}, MIXED, trials_so_far=0, study_seed=None)
    assert isinstance(sampler, GridSampler)
    assert {point["lr"] for point in propose(optuna.create_study(sampler=sampler), MIXED, 1)} <= {1e-6, 1e-5}
    with pytest.raises(ConfigError, match="search_space gives no values for 'loss'"):
        build_sampler(composed("grid") | {"search_space": {"lr": [1], "n": [1]}}, MIXED, trials_so_far=0, study_seed=None)


def test_the_official_partial_grid_yaml_works() -> None:
    config = {"_target_": "optuna.samplers.GridSampler", "_partial_": True}
    assert isinstance(build_sampler(config, FINITE, trials_so_far=0, study_seed=None), GridSampler)


class Corner(BaseSampler):
    """A user's own sampler: always the lowest corner."""

    def __init__(self, seed: int | None = None, offset: int = 0) -> None:
        self.seed = seed
        self.offset = offset

    def infer_relative_search_space(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
        return {}

    def sample_relative(self, study: optuna.Study, trial: optuna.trial.FrozenTrial, search_space: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    def sample_independent(self, study: optuna.Study, trial: optuna.trial.FrozenTrial, param_name: str, param_distribution: Any) -> Any:
        return param_distribution.to_external_repr(getattr(param_distribution, "low", 0))


def corner(seed: int | None = None) -> Corner:
    return Corner(seed)


def not_a_sampler() -> int:
    return 3


@pytest.mark.parametrize("target", ["Corner", "corner"])
def test_any_class_or_function_works_by_its_target(target: str) -> None:
    sampler = build_sampler({"_target_": f"{__name__}.{target}"}, MIXED, trials_so_far=2, study_seed=40)
    assert isinstance(sampler, Corner)
    assert sampler.seed == 42
    assert propose(optuna.create_study(sampler=sampler), MIXED, 1) == [{"lr": 1e-6, "n": 1, "loss": "ppo"}]


def test_the_yamls_seed_wins_over_the_studys() -> None:
    config = {"_target_": f"{__name__}.Corner", "seed": 0}
    sampler = build_sampler(config, MIXED, trials_so_far=3, study_seed=40)
    assert isinstance(sampler, Corner)
    assert sampler.seed == 3


def test_without_any_seed_none_is_made_up() -> None:
    sampler = build_sampler({"_target_": f"{__name__}.Corner"}, MIXED, trials_so_far=3, study_seed=None)
    assert isinstance(sampler, Corner)
    assert sampler.seed is None


def test_a_nested_sampler_is_built_and_seeded_too() -> None:
    config = {
        "_target_": "optuna.samplers.PartialFixedSampler",
        "fixed_params": {"n": 3},
        "base_sampler": {"_target_": f"{__name__}.Corner", "seed": 5},
    }
    sampler = build_sampler(config, MIXED, trials_so_far=2, study_seed=None)
    assert isinstance(sampler, PartialFixedSampler)
    base = sampler._base_sampler
    assert isinstance(base, Corner)
    assert base.seed == 7


def test_nested_operators_of_a_genetic_sampler_are_built() -> None:
    extra = {"crossover": {"_target_": "optuna.samplers.nsgaii.UniformCrossover"}}
    points = {"reference_points": {"_target_": "numpy.array", "object": [[1.0, 0.0], [0.0, 1.0]]}}
    sampler = build_sampler(composed("nsgaiii") | extra | points, MIXED, trials_so_far=0, study_seed=1)
    assert len(propose(optuna.create_study(sampler=sampler), MIXED, 2)) == 2


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({}, "hydra/sweeper/sampler: give _target_"),
        ({"_target_": "optuna.samplers.NoSuch"}, "hydra/sweeper/sampler: cannot import 'optuna.samplers.NoSuch'"),
        ({"_target_": "optuna.samplers"}, "is neither a class nor a function"),
        ({"_target_": "optuna.pruners.NopPruner"}, "optuna.pruners.NopPruner is not an optuna BaseSampler"),
        ({"_target_": f"{__name__}.not_a_sampler"}, "made a int, which is not an optuna BaseSampler"),
        ({"_target_": "optuna.samplers.RandomSampler", "sed": 1}, "RandomSampler has no parameter 'sed'; it takes seed"),
        ({"_target_": "optuna.samplers.RandomSampler", "seed": "x"}, "seed: expected a whole number or null, got 'x'"),
        ({"_target_": "optuna.samplers.PartialFixedSampler", "fixed_params": "???"}, "hydra.sweeper.sampler.fixed_params=..."),
        ({"_target_": "optuna.samplers.PartialFixedSampler", "fixed_params": {"n": 1}}, "refuses its parameters"),
        ({"_target_": "optuna.samplers.NSGAIISampler", "population_size": 1}, "refuses its parameters"),
    ],
)
def test_a_bad_yaml_gets_one_sentence(config: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        build_sampler(config, MIXED, trials_so_far=0, study_seed=None)


@pytest.mark.parametrize(
    ("name", "absent", "sentence"),
    [
        ("cmaes", "cmaes", "CmaEsSampler needs cmaes; pip install 'verl-sweep[samplers]'"),
        ("qmc", "scipy", "QMCSampler needs scipy; pip install 'verl-sweep[samplers]'"),
        ("gp", "torch", "GPSampler needs torch; pip install torch"),
    ],
)
def test_a_missing_package_is_named_before_anything_starts(name: str, absent: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None if package == absent else find(package))
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        build_sampler(composed(name), MIXED, trials_so_far=0, study_seed=None)


def test_samplers_are_optunas_own_and_not_wrapped() -> None:
    assert type(build_sampler(composed("tpe"), MIXED, trials_so_far=0, study_seed=None)) is TPESampler
    assert type(build_sampler(composed("motpe"), MIXED, trials_so_far=0, study_seed=None)) is TPESampler
    assert type(build_sampler(composed("random"), MIXED, trials_so_far=0, study_seed=None)) is RandomSampler

"""Every plan yaml builds a plan that carries a study to its end, and any other class works by its `_target_`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from plan_world import World, control, full_runs, new_study

from harness.errors import ConfigError
from sweeps.plans.build import build_plan
from sweeps.plans.once import Once

CONF = Path(__file__).parents[2] / "hydra_plugins" / "verl_sweep_conf"
NAMES = sorted(file.stem for file in (CONF / "hydra/sweeper/plan").glob("*.yaml"))


def composed(name: str, *overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(overrides=["hydra/sweeper=verl_optuna", f"hydra/sweeper/plan={name}", *overrides], return_hydra_config=True)
    plan = OmegaConf.to_container(config.hydra.sweeper.plan)
    assert isinstance(plan, dict)
    return plan  # type: ignore[return-value] # the keys of a plan's yaml are strings


@pytest.mark.parametrize("name", NAMES)
def test_every_plan_carries_a_study_to_its_end(name: str) -> None:
    study, plan = new_study(), build_plan(composed(name))
    loop = control(study, World(slots=3), plan, budget=24)
    assert loop.is_whole
    assert all(trial.state.is_finished() for trial in study.trials)
    assert plan.best(loop._course.overview()) is not None
    spent = full_runs(study, restore_cost=plan.restore_cost)
    assert 20 < spent <= 24, "what is asked for is used"


def test_without_a_yaml_each_point_is_tried_once() -> None:
    assert isinstance(build_plan(None), Once)
    assert composed("once") == {"_target_": "sweeps.plans.once.Once"}


def test_a_plan_of_a_users_own_works_by_its_target() -> None:
    study = new_study()
    plan = build_plan({"_target_": "pausing_plan.AllPause", "trials": 4, "step": 3})
    world = World(slots=2)
    assert control(study, world, plan, budget=4).is_whole
    assert {training.attempts for training in world.trials.values()} == {2}


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"_target_": "sweeps.plans.halving.Halvin"}, "hydra/sweeper/plan: cannot import 'sweeps.plans.halving.Halvin'"),
        (
            {"_target_": "optuna.samplers.TPESampler"},
            "hydra/sweeper/plan: optuna.samplers.TPESampler is not a sweeps.plans.plan.BasePlan",
        ),
        ({"_target_": "sweeps.plans.fixed_seeds.FixedSeeds", "seeds": 0}, "seeds: expected a whole number of at least 1, got 0"),
        ({"_target_": "sweeps.plans.fixed_seeds.FixedSeeds", "seeds": 2, "sedes": 1}, "FixedSeeds has no parameter 'sedes'"),
        (
            {"_target_": "sweeps.plans.confirmation.Confirmation", "configurations": 1, "seeds": 1},
            "configurations: expected a whole number",
        ),
        (
            {"_target_": "sweeps.plans.racing.Racing", "explore": 1.0, "contenders": 4, "seeds": 4, "confidence": 0.9},
            "explore, confidence: expected shares",
        ),
    ],
)
def test_what_is_no_plan_is_refused_in_one_sentence(config: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_plan(config)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)

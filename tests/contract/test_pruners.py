"""Every pruner yaml builds Optuna's own pruner, and any other class works by its `_target_`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from optuna.pruners import BasePruner, MedianPruner, PatientPruner

from harness.errors import ConfigError
from sweeps.pruners.build import build_pruner

CONF = Path(__file__).parents[2] / "hydra_plugins" / "verl_sweep_conf"
NAMES = sorted(file.stem for file in (CONF / "hydra/sweeper/pruner").glob("*.yaml"))
NEEDED = {"threshold": ["hydra.sweeper.pruner.upper=2.5"]}


def composed(name: str, *overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(overrides=["hydra/sweeper=verl_optuna", f"hydra/sweeper/pruner={name}", *overrides], return_hydra_config=True)
    pruner = OmegaConf.to_container(config.hydra.sweeper.pruner)
    assert isinstance(pruner, dict)
    return pruner  # type: ignore[return-value] # the keys of a pruner's yaml are strings


def verdicts(pruner: BasePruner, *, trials: int = 12, steps: int = 12) -> list[bool]:
    """Trials that get worse one after the other; whether each was pruned."""
    study = optuna.create_study(pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=1))
    pruned = []
    for number in range(trials):
        trial = study.ask()
        stopped = False
        for step in range(steps):
            trial.report(float(number) + 1 / (step + 1), step)
            stopped = trial.should_prune()
            if stopped:
                break
        study.tell(trial, None if stopped else float(number), state=optuna.trial.TrialState.PRUNED if stopped else None)
        pruned.append(stopped)
    return pruned


@pytest.mark.parametrize("name", NAMES)
def test_every_pruner_judges_reports(name: str) -> None:
    pruned = verdicts(build_pruner(composed(name, *NEEDED.get(name, []))))
    assert not pruned[0]
    assert any(pruned) == (name not in ("none", "patient"))  # a trial that improves at each step has never run out of patience


def test_patience_runs_out() -> None:
    pruner = build_pruner(composed("patient") | {"patience": 1, "min_delta": 0.0, "wrapped_pruner": None})
    assert isinstance(pruner, PatientPruner)
    trial = optuna.create_study(pruner=pruner).ask()
    for step in range(4):
        trial.report(float(step), step)
    assert trial.should_prune()


class Never(BasePruner):
    """A user's own pruner."""

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        return False


def test_any_class_works_by_its_target() -> None:
    assert not any(verdicts(build_pruner({"_target_": f"{__name__}.Never"})))


def test_pruners_are_optunas_own_and_not_wrapped() -> None:
    assert type(build_pruner(composed("median"))) is MedianPruner


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({}, "hydra/sweeper/pruner: give _target_"),
        ({"_target_": "optuna.samplers.RandomSampler"}, "optuna.samplers.RandomSampler is not an optuna BasePruner"),
        ({"_target_": "optuna.pruners.MedianPruner", "warmup": 1}, "MedianPruner has no parameter 'warmup'; it takes n_startup_trials, "),
        ({"_target_": "optuna.pruners.ThresholdPruner"}, "optuna.pruners.ThresholdPruner refuses its parameters"),
        ({"_target_": "optuna.pruners.PercentilePruner", "percentile": 101.0}, "refuses its parameters"),
        (
            {
                "_target_": "optuna.pruners.PatientPruner",
                "patience": 1,
                "wrapped_pruner": {"_target_": "optuna.pruners.MedianPruner", "x": 1},
            },
            "MedianPruner has no parameter 'x'",
        ),
    ],
)
def test_a_bad_yaml_gets_one_sentence(config: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        build_pruner(config)

"""Every yaml composes through the real primary configuration, and its verl tree resolves and would be accepted by verl."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from harness import identity, preflight
from harness.preflight import Finding, Severity
from sweeps.config import read_settings, trainer_config

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
DOORS = ROOT / "hydra_plugins" / "verl_sweep_conf"
# Options that make sense only beside another one.
BESIDE = {
    "engine=megatron": ("resources=gpu_1", "rollout=vllm"),
    "engine=fsdp": ("resources=gpu_1",),
    "rollout=vllm": ("resources=gpu_1",),
}
# What an option leaves open, because nobody else can know it.
OPEN = {"hydra/sweeper/sampler=partial_fixed": ("hydra.sweeper.sampler.fixed_params={lr:1e-5}",)}
MADE_ON_THE_SPOT = ("actor_rollout_ref.model.path", "critic.model.path", "data.train_files", "data.val_files")


def options(folder: Path) -> list[str]:
    """As they are chosen on a command line: `group=option`."""
    files = sorted(file.relative_to(folder) for file in folder.rglob("*.yaml") if file.parent != folder)
    return [f"{file.parent}={file.stem}" for file in files]


@pytest.fixture(autouse=True)
def hydra_is_fresh(fresh_hydra: None) -> Iterator[None]:
    with initialize_config_module("conf", version_base="1.3"):
        yield


def composed(*overrides: str) -> DictConfig:
    return compose("config", overrides=list(overrides), return_hydra_config=True)


def refusals(config: DictConfig) -> list[Finding]:
    findings = preflight.check(trainer_config(config))
    return [finding for finding in findings if finding.severity is Severity.REFUSE and finding.key not in MADE_ON_THE_SPOT]


# Experiments are opened as a launch does, in test_recipes.py.
OPTIONS = [option for option in options(CONF) if not option.startswith("experiment=")]


@pytest.mark.parametrize("name", sorted(file.stem for file in (CONF / "algorithm").glob("*.yaml")))
def test_a_trackers_run_is_tagged_with_the_algorithm_that_was_chosen(name: str) -> None:
    assert identity.algorithm(trainer_config(composed(f"algorithm={name}"))) == name


@pytest.mark.parametrize("option", ["verl=ppo_trainer", *OPTIONS])
def test_every_option_composes_to_what_verl_accepts(option: str) -> None:
    config = composed(option, *BESIDE.get(option, ()))
    assert refusals(config) == []
    assert read_settings(config).objectives
    assert config.actor_rollout_ref.model.trust_remote_code is (option == "policy=openpangu_7b")  # consent is given to nobody else


def test_one_key_names_the_model_of_actor_and_critic_and_one_agrees_to_its_code() -> None:
    tree = trainer_config(composed("policy=hf", "policy.path=organisation/name", "policy.trust_remote_code=true", "algorithm=ppo"))
    for model in (tree["actor_rollout_ref"]["model"], tree["critic"]["model"]):
        assert (model["path"], model["trust_remote_code"], model["external_lib"]) == ("organisation/name", True, "harness.inside.fsdp_cpu")


@pytest.mark.parametrize("option", options(DOORS))
def test_every_option_of_the_doors_composes(option: str) -> None:
    group, _, _ = option.partition("=")
    config = composed(option, *OPEN.get(option, ()))
    node = config.hydra
    for name in group.split("/")[1:]:
        node = node[name]
    assert isinstance(node._target_, str)


def test_every_yaml_says_in_its_first_line_what_it_is() -> None:
    files = [*CONF.rglob("*.yaml"), *DOORS.rglob("*.yaml")]
    heads = {file: file.read_text().removeprefix("# @package _global_\n").split("\n")[0] for file in files}
    assert [str(file.relative_to(ROOT)) for file, head in heads.items() if not head.startswith("# ")] == []

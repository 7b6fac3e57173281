"""Every experiment of conf/ is ready to launch: its space is alive, its points pass the preflight, it validates, and its engine lasts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from harness import preflight
from harness.errors import PreflightError
from harness.fingerprint import fingerprint
from sweeps import assets
from sweeps.compose import Composer
from sweeps.config import Settings, interpolations, read_settings
from sweeps.rehearse import rehearse
from sweeps.space import Space, parse_space

CONF = Path(__file__).parents[2] / "conf"
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
DATA = ("gsm8k", "math", "geo3k")


@pytest.fixture(autouse=True)
def hydra_is_fresh(fresh_hydra: None) -> Iterator[None]:
    with initialize_config_module("conf", version_base="1.3"):
        yield


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A host where everybody's data has been prepared; what is in the files is read by verl alone."""
    for name in DATA:
        (tmp_path / name).mkdir()
        for split in ("train", "test"):
            (tmp_path / name / f"{split}.parquet").touch()
    return tmp_path


def opened(experiment: str, *overrides: str) -> tuple[Composer, Space, Settings]:
    arguments = [f"experiment={experiment}", *overrides]
    config = compose("config", overrides=arguments, return_hydra_config=True)
    loader = GlobalHydra.instance().config_loader()
    return Composer(loader, config), parse_space(arguments, config.hydra.sweeper.params, loader), read_settings(config)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_can_be_launched_and_each_of_its_knobs_acts(experiment: str, data: Path) -> None:
    composer, space, settings = opened(experiment, f"paths.data={data}", f"paths.assets={data}")
    to_be_made = {asset.folder for asset in assets.missing(settings.assets)}
    corners = rehearse(composer, space, settings.objectives, to_be_made=to_be_made)
    assert settings.study == experiment
    assert all(preflight.validates(tree) for tree in corners)
    assert len({fingerprint(tree) for tree in corners}) == 1  # no start between two trials
    acts_on = interpolations(composer.base)
    for name in space.distributions:
        keys = acts_on.get(name, (name,))
        hardly = preflight.dead_knobs(corners[0], keys)  # warnings included: where every ratio is 1, a limit on it does little
        assert len(hardly) < len(keys), hardly


@pytest.mark.parametrize("experiment", [name for name in EXPERIMENTS if "openpangu" in name])
def test_openpangus_code_is_consented_to_wherever_it_is_loaded(experiment: str, data: Path) -> None:
    config = compose("config", overrides=[f"experiment={experiment}", f"paths.data={data}"])
    assert config.policy.source == "FreedomIntelligence/openPangu-Embedded-7B"
    assert config.actor_rollout_ref.model.path == config.critic.model.path == f"{config.paths.assets}/policy/openpangu_7b"
    assert config.actor_rollout_ref.model.trust_remote_code is True
    assert config.critic.model.trust_remote_code is True
    assert config.data.trust_remote_code is True


def test_data_that_is_not_there_is_refused_with_who_writes_it(tmp_path: Path) -> None:
    composer, space, settings = opened("openpangu_7b_grpo", f"paths.data={tmp_path}")
    with pytest.raises(PreflightError) as caught:
        rehearse(composer, space, settings.objectives, cures=settings.cures)
    assert f"data.train_files: there is no file {tmp_path}/math/train.parquet" in str(caught.value)
    assert "examples/data_preprocess/math_dataset.py in verl's repository writes both" in str(caught.value)
    assert str(caught.value).count("verl's repository") == 1


def test_one_path_names_the_model_for_all_of_verl() -> None:
    config = compose("config", overrides=["policy=hf", "policy.path=some/model", "policy.trust_remote_code=true"])
    assert config.actor_rollout_ref.model.path == config.critic.model.path == "some/model"
    assert config.critic.model.trust_remote_code is config.data.trust_remote_code is True


@pytest.mark.parametrize("engine", ["fsdp", "fsdp2"])
def test_an_engines_short_names_reach_every_role(engine: str) -> None:
    chosen = [
        "engine.param_offload=true",
        "engine.optimizer_offload=true",
        "engine.sequence_parallel=2",
        "engine.gradient_checkpointing=false",
    ]
    config = compose("config", overrides=[f"engine={engine}", "policy=qwen2_5_7b", "resources=gpu_2", *chosen])
    actor, ref, critic = config.actor_rollout_ref.actor.fsdp_config, config.actor_rollout_ref.ref.fsdp_config, config.critic.fsdp
    assert [node.param_offload for node in (actor, ref, critic)] == [True] * 3
    assert [node.optimizer_offload for node in (actor, critic)] == [True] * 2
    assert [node.ulysses_sequence_parallel_size for node in (actor, ref, critic)] == [2] * 3
    assert config.actor_rollout_ref.model.enable_gradient_checkpointing is config.critic.model.enable_gradient_checkpointing is False

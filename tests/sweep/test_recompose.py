"""A job that shares its configuration with earlier ones is the job that Hydra would have made and run."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import run_job
from hydra.errors import ConfigCompositionException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError

from sweeps.recompose import Recomposer

CONFIG = """
defaults: [db: mysql, _self_]
x: 1
y: 2.5
twice: ${x}
folder: ${hydra:runtime.output_dir}
name: a
list: [1, 2]
hydra:
  sweep: {dir: runs, subdir: "${hydra.job.num}-x${x}"}
  job: {chdir: true, env_set: {SHOUTED: "${hydra.job.num}!"}}
"""


@pytest.fixture
def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ConfigLoader, DictConfig]]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "db").mkdir()
    for name in ("mysql", "sqlite"):
        (tmp_path / "db" / f"{name}.yaml").write_text(f"kind: {name}\nsize: 1\n")
    (tmp_path / "config.yaml").write_text(CONFIG)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        yield loader, loader.load_configuration("config", ["hydra.job.num=0"], run_mode=RunMode.MULTIRUN)
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers, root.level = handlers, level


class Seen:
    """A task function that notes all it can see of its job, and spoils its own configuration for whoever should get it next."""

    def __init__(self) -> None:
        self.all: dict[str, Any] = {}

    def __call__(self, config: DictConfig) -> float:
        self.all = {
            "config": OmegaConf.to_yaml(config),
            "resolved": OmegaConf.to_container(config, resolve=True),
            "hydra": OmegaConf.to_yaml(HydraConfig.instance().cfg),
            "resolved_hydra": OmegaConf.to_container(HydraConfig.get(), resolve=True),
            "readonly": OmegaConf.is_readonly(HydraConfig.instance().cfg.hydra),  # type: ignore[union-attr] # it is set within a job
            "cwd": Path.cwd(),
            "environment": os.environ["SHOUTED"],
        }
        logging.getLogger("task").info("seen")
        with pytest.raises(ConfigAttributeError):
            config.unheard_of = 1
        if "name" in config:
            config.name = "spoiled"
        if config.x == 13:
            raise ValueError("unlucky")
        return float(config.x)


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text().split("INFO")[-1] for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        (["x=1", "y=2"], ["x=0.5", "y=-3e-5"], True),
        (["x=1"], ["x=13"], True),
        (["x=13"], ["x=2"], True),
        (["+z=1", "++x=2"], ["+z=4", "++x=5"], True),
        (["db=sqlite", "x=3"], ["db=sqlite", "x=4"], True),
        (["x=1", "list=[3]"], ["x=2", "list=[3]"], True),
        (["~y", "x=1"], ["~y", "x=2"], True),
        (["name=a", "x=1"], ["name=b", "x=1"], True),
        (["db=mysql"], ["db=sqlite"], True),
        (["db=sqlite", "db.size=3"], ["db=sqlite", "db.size=4"], False),
        (["x=1", "x=2"], ["x=3", "x=2"], False),
        (["db.size=1", "db={size: 2}"], ["db.size=5", "db={size: 2}"], False),
        (["hydra.job.num=3", "x=1"], ["hydra.job.num=4", "x=1"], False),
    ],
)
def test_a_shared_configuration_is_told_apart_by_nothing(
    application: tuple[ConfigLoader, DictConfig], tmp_path: Path, first: list[str], second: list[str], shared: bool
) -> None:
    recomposer, ours, theirs = Recomposer(*application), Seen(), Seen()
    before = recomposer.job(first, 0)
    assert (before is not None) is shared
    if before is None:
        return
    before.run(Seen())
    job = recomposer.job(second, 1)
    assert job is not None
    result = job.run(ours)
    left = files(tmp_path / "runs")
    context = HydraContext(config_loader=application[0], callbacks=Callbacks())
    expected = run_job(ours_to(theirs), recomposer.compose(second, 1), "hydra.sweep.dir", "hydra.sweep.subdir", context)
    assert ours.all == theirs.all
    assert left == files(tmp_path / "runs")
    assert sum(name.endswith("hydra.yaml") for name in left) == 2
    assert (result.status, result.overrides, result.working_dir, result.task_name) == (
        expected.status,
        expected.overrides,
        expected.working_dir,
        expected.task_name,
    )
    assert repr(result._return_value) == repr(expected._return_value)


def ours_to(seen: Seen) -> Any:
    """Hydra wants a function, with a name."""

    def task(config: DictConfig) -> float:
        return seen(config)

    return task


def test_what_does_not_compose_is_said_in_hydras_words(application: tuple[ConfigLoader, DictConfig]) -> None:
    recomposer = Recomposer(*application)
    with pytest.raises(ConfigCompositionException, match="nothing"):
        recomposer.job(["nothing=2"], 0)


@pytest.mark.slow
def test_a_space_of_too_many_shapes_is_left_to_hydra(application: tuple[ConfigLoader, DictConfig]) -> None:
    recomposer = Recomposer(*application)
    shapes = [recomposer.job([f"name=n{number}"], number) is not None for number in range(66)]
    assert shapes == [True] * 64 + [False] * 2

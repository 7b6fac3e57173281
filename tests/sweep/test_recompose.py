"""A configuration that was changed is the one that Hydra would have composed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sweeps.recompose import Recomposer


@pytest.fixture
def application(tmp_path: Path) -> Iterator[tuple[ConfigLoader, DictConfig]]:
    (tmp_path / "db").mkdir()
    for name in ("mysql", "sqlite"):
        (tmp_path / "db" / f"{name}.yaml").write_text(f"kind: {name}\nsize: 1\n")
    (tmp_path / "config.yaml").write_text("defaults: [db: mysql, _self_]\nx: 1\ny: 2.5\ntwice: ${x}\nname: a\nlist: [1, 2]\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        yield loader, loader.load_configuration("config", ["hydra.job.num=0"], run_mode=RunMode.MULTIRUN)


@pytest.mark.parametrize(
    ("first", "second", "known"),
    [
        (["x=1", "y=2"], ["x=0.5", "y=-3e-5"], True),
        (["+z=1", "++x=2"], ["+z=4", "++x=5"], True),
        (["db=sqlite", "x=3"], ["db=sqlite", "x=4"], True),
        (["x=1", "list=[3]"], ["x=2", "list=[3]"], True),
        (["~y", "x=1"], ["~y", "x=2"], True),
        (["name=a", "x=1"], ["name=b", "x=1"], False),
        (["db=mysql"], ["db=sqlite"], False),
        (["db=sqlite", "db.size=3"], ["db=sqlite", "db.size=4"], False),
        (["x=1", "x=2"], ["x=3", "x=2"], False),
        (["db.size=1", "db={size: 2}"], ["db.size=5", "db={size: 2}"], False),
        (["hydra.job.num=3", "x=1"], ["hydra.job.num=4", "x=1"], False),
    ],
)
def test_a_changed_configuration_equals_a_composed_one(
    application: tuple[ConfigLoader, DictConfig], first: list[str], second: list[str], known: bool
) -> None:
    loader, base = application
    recomposer = Recomposer(loader, base)
    recomposer.learn(first)
    before = len(recomposer._known)
    taken = recomposer.take(second)
    assert (len(recomposer._known) < before) is known
    assert OmegaConf.to_yaml(taken) == OmegaConf.to_yaml(loader.load_sweep_config(base, second))


def test_what_does_not_compose_is_said_by_the_job_itself(application: tuple[ConfigLoader, DictConfig]) -> None:
    recomposer = Recomposer(*application)
    recomposer.learn(["nothing=1"])
    with pytest.raises(ConfigCompositionException, match="nothing"):
        recomposer.take(["nothing=2"])

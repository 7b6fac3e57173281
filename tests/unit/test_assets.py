"""What is made on the spot from options is never taken for what other options would have made."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from harness.errors import ConfigError
from sweeps import assets
from sweeps.config import Asset, read_settings

CHOSEN = ("task=reasoning_gym", "task.dataset=spell_backward", "task.sizes.train=3", "task.sizes.test=2")


def task(folder: Path, *overrides: str) -> Asset:
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        settings = read_settings(compose("config", overrides=[*CHOSEN, f"paths.assets={folder}", *overrides], return_hydra_config=True))
    return next(asset for asset in settings.assets if asset.kind == "task")


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_hydra")
def test_data_of_other_options_is_refused_and_of_the_same_is_used(tmp_path: Path) -> None:
    pytest.importorskip("reasoning_gym")
    short = task(tmp_path, "task.options={max_word_len:5}")
    assert assets.missing([short]) == [short]
    assets.make([short], say=lambda _: None)
    assert sorted(path.name for path in short.folder.iterdir()) == ["made_from.json", "test.parquet", "train.parquet"]
    assert assets.missing([short]) == []
    with pytest.raises(ConfigError, match=r"was made from .*max_word_len.* set task.folder to another name, or remove that folder"):
        assets.missing([task(tmp_path, "task.options={max_word_len:6}")])
    elsewhere = task(tmp_path, "task.options={max_word_len:6}", "task.folder=longer")
    assert assets.missing([elsewhere]) == [elsewhere]

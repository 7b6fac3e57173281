"""The help's text names what exists."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

ROOT = Path(__file__).parents[2]
TEXT: str = OmegaConf.load(ROOT / "conf" / "config.yaml").hydra.help.template


@pytest.mark.parametrize("group", ["hydra/sweeper/sampler", "hydra/sweeper/pruner", "hydra/sweeper/plan"])
def test_help_names_every_option_of_the_sweeper(group: str) -> None:
    line = next(line for line in TEXT.splitlines() if line.strip().startswith(f"{group}:"))
    options = {path.stem for path in (ROOT / "hydra_plugins" / "verl_sweep_conf" / group).glob("*.yaml")}
    assert set(line.partition(":")[2].replace(" ", "").split(",")) == options


def test_help_names_every_short_knob() -> None:
    words = TEXT.replace(",", " ").split()
    knobs = [key for key, value in OmegaConf.load(ROOT / "conf" / "knobs.yaml").items() if not OmegaConf.is_config(value)]
    assert [knob for knob in knobs if knob not in words] == []

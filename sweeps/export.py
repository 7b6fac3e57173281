"""`python -m sweeps.export [key=value ...]`: prints the shell script that runs verl itself with a configuration; starts nothing.

`verl-study export` becomes this, for only here is Hydra.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from sweeps import assets, verl_tree
from sweeps.app import one_sentence
from sweeps.composed import CONF
from sweeps.config import Asset, read_settings, trainer_config
from sweeps.run_script import overrides, script

_CHOICE = "verl"  # the group of verl's trees


def plain_run(arguments: Sequence[str]) -> str:
    """The script. Raises ConfigError and Hydra's own errors."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=list(arguments), return_hydra_config=True)
        tree_name = str(config.hydra.runtime.choices[_CHOICE])
        chosen = overrides(trainer_config(config), verl_tree.load(tree_name))
        settings = read_settings(config)
    remark = f"verl {verl_tree.version()}, as `verl-sweep {shlex.join(arguments)}` would run it, one trial; more keys can follow."
    made = [f"The {asset.kind} is made by `{shlex.join(_maker(asset))}`." for asset in settings.assets]
    return script(tree_name, chosen, name=settings.study or "verl-sweep", remarks=[remark, *made], home=Path.home())


def _maker(asset: Asset) -> list[str]:
    options = [json.dumps(dict(asset.options))] if asset.options else []
    return ["python3", "-m", assets.MODULE, asset.kind, asset.maker, str(asset.folder), *options]


def main() -> None:
    with one_sentence("verl-study"):
        print(plain_run(sys.argv[1:]), end="")


if __name__ == "__main__":
    main()

"""`python -m sweeps.export [--format=...|--output=...] [key=value ...]`: what runs verl itself with a configuration; starts nothing.

`verl-study export` becomes this, for only here is Hydra.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from harness import records
from harness.errors import ConfigError
from sweeps import assets, verl_tree
from sweeps.app import one_sentence
from sweeps.composed import CONF
from sweeps.config import Asset, read_settings, trainer_config
from sweeps.run_script import changes, document, overrides, script

_CHOICE = "verl"  # the group of verl's trees


class Form(StrEnum):
    """How it is written; the suffix of a file."""

    SH = "sh"  # a script in the manner of verl's own examples
    YAML = "yaml"  # a configuration for verl's own entry point


def plain_run(arguments: Sequence[str], *, file: str | None = None) -> tuple[str, dict[Form, str]]:
    """The run's name, and its text in each form. Raises ConfigError and Hydra's own errors.

    `file`: the name of a file that is not called as the run is, without its suffix.
    """
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=list(arguments), return_hydra_config=True)
        tree_name = str(config.hydra.runtime.choices[_CHOICE])
        tree = verl_tree.load(tree_name)
        changed = changes(trainer_config(config), tree)
        settings = read_settings(config)
    name, home = settings.study or "verl-sweep", Path.home()
    remark = f"verl {verl_tree.version()}, as `verl-sweep {shlex.join(arguments)}` would run it, one trial; more keys can follow."
    made = [f"The {asset.kind} is made by `{shlex.join(_maker(asset))}`." for asset in settings.assets]
    return name, {
        Form.SH: script(tree_name, overrides(changed, tree), name=name, remarks=[remark, *made], home=home),
        Form.YAML: document(tree_name, changed, name=name, file=file or name, remarks=[remark, *made], home=home),
    }


def write(texts: dict[Form, str], name: str, output: Path) -> list[Path]:
    """Into a file of the form that its suffix says, or each form into a folder. Raises ConfigError rather than write over a file."""
    places = {output: Form(output.suffix[1:])} if _is_file(output) else {output / f"{name}.{form}": form for form in Form}
    if there := [path for path in places if path.exists()]:
        raise ConfigError(f"{there[0]} is there already; remove it, or give another place with --output")
    for path, form in places.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        records.write_text(path, texts[form])
        if form is Form.SH:
            path.chmod(0o755)
    return list(places)


def _is_file(output: Path) -> bool:
    return output.suffix in [f".{form}" for form in Form]


def _maker(asset: Asset) -> list[str]:
    options = [json.dumps(dict(asset.options))] if asset.options else []
    return ["python3", "-m", assets.MODULE, asset.kind, asset.maker, str(asset.folder), *options]


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--format", type=Form, default=Form.SH)
    parser.add_argument("--output", type=Path)
    options, arguments = parser.parse_known_args()
    with one_sentence("verl-study"):
        file = options.output.stem if options.output is not None and _is_file(options.output) else None
        name, texts = plain_run(arguments, file=file)
        if options.output is None:
            print(texts[options.format], end="")
            return
        print("\n".join(map(str, write(texts, name, options.output))))


if __name__ == "__main__":
    main()

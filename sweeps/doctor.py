"""What `verl-study doctor` becomes: `python -m sweeps.doctor [--json] [overrides]` tells whether this host can run an experiment."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from harness.doctor.look import look
from harness.doctor.nouns import Needs
from harness.doctor.page import as_data, page
from harness.doctor.verdict import judge, lacking
from harness.errors import EXIT_BAD_INPUT, ConfigError
from harness.preflight.view import ACTOR, MODEL, ROLLOUT, View
from harness.terminal import console
from harness.types import Slot
from sweeps import assets
from sweeps.compose import Composer, explain
from sweeps.composed import CONF, base_keys
from sweeps.config import Settings, read_settings, resolved, trainer_config, verl_keys
from sweeps.launch import engine_launcher
from sweeps.rehearse import corner, rehearse
from sweeps.space import Space, parse_space

_JSON = "--json"
_SOURCES = (f"{MODEL}.path", "critic.model.path", "data.train_files", "data.val_files")


def main(arguments: Sequence[str]) -> int:
    """The exit status: 0, or 2 where the experiment cannot run here or cannot be read."""
    overrides = [word for word in arguments if word != _JSON]
    try:
        needs, slots, problem = _ask(overrides)
    except ConfigError as error:
        print(f"verl-study: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    groups = judge(needs, look(needs, slots=slots, slots_problem=problem))
    title = " ".join(overrides) or "verl-sweep without arguments"
    if _JSON in arguments:
        print(json.dumps(as_data(title, groups), indent=2))
    else:
        console().print(page(title, groups))
    return EXIT_BAD_INPUT if lacking(groups) else 0


def _ask(overrides: Sequence[str]) -> tuple[Needs, Sequence[Slot], str]:
    """What the experiment needs, and the slots that its launcher would have here or why it has none. Raises ConfigError."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = _composed(loader, overrides)
        space = parse_space(list(overrides), config.hydra.sweeper.params or {}, loader, allow_empty=True)
        composer = Composer(loader, config)
        one = composer.compose(space.arguments(corner(space, 0)))
        settings = read_settings(one)
        needs = needs_of(one, settings, refused=_refusal(composer, space, settings))
        try:
            return needs, engine_launcher(config).slots(), ""
        except ConfigError as error:
            return needs, (), str(error)


def _composed(loader: ConfigLoader, overrides: Sequence[str]) -> DictConfig:
    """As for a study: what is swept is left to the space."""
    try:
        return loader.load_configuration("config", list(overrides), run_mode=RunMode.MULTIRUN)
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, base_keys()) from error


def _refusal(composer: Composer, space: Space, settings: Settings) -> str:
    to_be_made = {asset.folder for asset in assets.missing(settings.assets)}
    try:
        rehearse(composer, space, settings.objectives, to_be_made=to_be_made)
    except ConfigError as error:
        return str(error)
    return ""


def needs_of(config: DictConfig, settings: Settings, *, refused: str) -> Needs:
    """Of one point of the experiment; the others differ in knobs."""
    view = View(trainer_config(config))
    resources: Mapping[str, Any] = resolved(config, but=verl_keys(config))["resources"]
    missing = assets.missing(settings.assets)
    return Needs(
        trains=settings.trains,
        slots=resources["slots"] or 1,
        gpus_per_slot=resources["gpus_per_slot"],
        strategy=str(view.find(f"{ACTOR}.strategy", "")),
        rollout=str(view.find(f"{ROLLOUT}.name", "")),
        rollout_share=settings.rollout_share,
        attention=str(view.find(f"{MODEL}.override_config.attn_implementation", "flash_attention_2")),  # verl's own default
        object_store_mib=settings.resources.object_store_mib,
        made={f"{asset.kind} {asset.maker}": asset.maker for asset in missing},
        sources=tuple(_sources(view, [asset.folder for asset in missing])),
        wandb=settings.tracking.get("mode") if "wandb" in instantiate(settings.tracking).loggers else None,
        folders={"outputs": settings.outputs, "assets": _assets_folder(config), "temporary": Path(tempfile.gettempdir())},
        refused=refused,
    )


def _sources(view: View, made: Sequence[Path]) -> Iterable[str]:
    """Paths and hub ids that are read and not made; addresses of other stores are verl's to fetch."""
    found: dict[str, None] = {}
    for key in _SOURCES:
        value = view.find(key)
        for name in value if isinstance(value, list) else [value]:
            if isinstance(name, str) and "://" not in name and not any(Path(name).expanduser().is_relative_to(folder) for folder in made):
                found[name] = None
    return found


def _assets_folder(config: DictConfig) -> Path:
    return Path(str(config.paths.assets)).expanduser()


if __name__ == "__main__":
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.exit(main(sys.argv[1:]))

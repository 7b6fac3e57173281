"""Jobs that differ in numbers only share one composed configuration, and run as Hydra's `run_job` would, in a fraction of its time.

`run_job` copies the configuration four times and writes all of Hydra's own settings anew for each job; that is most of a short job's time.
"""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from hydra import version
from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, _flush_loggers, configure_log, env_override
from hydra.types import TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf._utils import get_omega_conf_dumper
from omegaconf.errors import OmegaConfBaseException

_MOST_SHAPES = 64  # a space of many choices has many more; each costs a megabyte or more
_CHANGING = ("job", "overrides", "runtime")  # the sections of Hydra's own settings in which two jobs of one shape differ


class Recomposer:
    """Keeps a configuration for each shape: for the overrides of a job without their numbers.

    A number never chooses an option of a configuration group, so it cannot change which files a configuration is made of.
    """

    def __init__(self, loader: ConfigLoader, base: DictConfig) -> None:
        self._loader, self._base = loader, base
        self._known: dict[tuple[str, ...], ShapedJob] = {}

    def job(self, overrides: Sequence[str], index: int) -> ShapedJob | None:
        """The job `index` of a sweep, valid until the next one is asked for; None where Hydra has to make and run it.

        Raises what `ConfigLoader.load_sweep_config` does.
        """
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        shape = _shape(parsed)
        if shape is None or (shape not in self._known and len(self._known) == _MOST_SHAPES):
            return None
        if shape not in self._known:
            self._known[shape] = ShapedJob(self.compose(overrides, index))
        try:
            self._known[shape].become(parsed, index)
        except OmegaConfBaseException:  # a number of the wrong type: Hydra's sentence says which
            return None
        return self._known[shape]

    def compose(self, overrides: Sequence[str], index: int) -> DictConfig:
        config = self._loader.load_sweep_config(self._base, list(overrides))
        with open_dict(config):
            config.hydra.job.id = str(index)
            config.hydra.job.num = index
        return config


class ShapedJob:
    """One configuration, changed from job to job; the task function gets a copy of its own."""

    def __init__(self, config: DictConfig) -> None:
        self._config = config
        with _showing(None):
            HydraConfig.instance().set_config(config)
            self._of_hydra: Any = HydraConfig.instance().cfg  # Hydra types it as its schema
        self._of_task = copy.deepcopy(config)
        with read_write(self._of_task), open_dict(self._of_task):
            del self._of_task["hydra"]
        self._texts: dict[str, str] = {}  # sections of hydra.yaml that stay

    def become(self, parsed: Sequence[Override], index: int) -> None:
        """The last steps of Hydra's own composition. Raises OmegaConf's errors where a number does not fit its place."""
        for override in filter(_is_number, parsed):
            added = override.is_add() or override.is_force_add()
            for config in (self._config, self._of_task):
                OmegaConf.update(config, override.key_or_group, override.value(), merge=True, force_add=added)
        for hydra in self._hydras():
            with read_write(hydra), open_dict(hydra):
                hydra.overrides.task = [override.input_line for override in parsed]
                hydra.job.id, hydra.job.num = str(index), index
                hydra.job.override_dirname = get_overrides_dirname(overrides=list(parsed), **hydra.job.config.override_dirname)
                for name in hydra.job.env_copy:
                    hydra.job.env_set[name] = os.environ[name]

    def run(self, task_function: TaskFunction) -> JobReturn:
        """What `run_job` leaves and returns, without the two configurations in what it returns, and without callbacks."""
        folder = str(Path(self._config.hydra.sweep.dir) / str(self._config.hydra.sweep.subdir))
        for hydra in self._hydras():
            with read_write(hydra), open_dict(hydra):
                hydra.runtime.output_dir = os.path.abspath(folder)  # noqa: PTH100 (as Hydra does)
        hydra = self._config.hydra
        task = copy.deepcopy(self._of_task)
        result = JobReturn(overrides=list(hydra.overrides.task), task_name=JobRuntime.instance().get("name"))
        Path(folder).mkdir(parents=True, exist_ok=True)
        here = Path.cwd()
        moves = not version.base_at_least("1.2") if hydra.job.chdir is None else hydra.job.chdir
        with _showing(self._of_hydra):
            if moves:
                os.chdir(folder)
            result.working_dir = folder if moves else str(here)
            try:
                configure_log(hydra.job_logging, hydra.verbose)
                if hydra.output_subdir is not None:
                    self._write(Path(hydra.runtime.output_dir) / hydra.output_subdir, task)
                with env_override(hydra.job.env_set):
                    _call(task_function, task, result)
                _flush_loggers()
            finally:
                os.chdir(here)
        return result

    def _hydras(self) -> tuple[DictConfig, DictConfig]:
        """Hydra's settings below the whole configuration, where interpolations look, and those that `HydraConfig` shows."""
        return self._config.hydra, self._of_hydra.hydra

    def _write(self, folder: Path, task: DictConfig) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "config.yaml").write_text(OmegaConf.to_yaml(task), encoding="utf-8")
        (folder / "hydra.yaml").write_text(self._hydra_yaml(), encoding="utf-8")
        (folder / "overrides.yaml").write_text(OmegaConf.to_yaml(self._config.hydra.overrides.task), encoding="utf-8")

    def _hydra_yaml(self) -> str:
        hydra = self._hydras()[1]
        for section in _CHANGING if self._texts else list(hydra):
            node: Any = hydra._get_node(section)
            plain = OmegaConf.to_container(node, enum_to_str=True) if OmegaConf.is_config(node) else node._value()
            self._texts[section] = _yaml({"hydra": {section: plain}}).removeprefix("hydra:\n")
        return "hydra:\n" + "".join(self._texts.values())


def _yaml(plain: object) -> str:
    """As `OmegaConf.to_yaml` writes it."""
    text: str = yaml.dump(plain, default_flow_style=False, allow_unicode=True, sort_keys=False, Dumper=get_omega_conf_dumper())
    return text


@contextlib.contextmanager
def _showing(shown: Any) -> Iterator[None]:
    """`HydraConfig` shows this within the block."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().cfg = shown
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before


def _call(task_function: TaskFunction, task: DictConfig, result: JobReturn) -> None:
    try:
        result.return_value = task_function(task)
        result.status = JobStatus.COMPLETED
    except Exception as error:
        result.return_value = error
        result.status = JobStatus.FAILED


def _shape(parsed: Sequence[Override]) -> tuple[str, ...] | None:
    """Equal for jobs that differ in numbers only; None where the order of the overrides matters, or they change Hydra itself."""
    if any(override.is_hydra_override() for override in parsed) or _overlap([override.key_or_group for override in parsed]):
        return None
    return tuple(f"{override.type}:{override.key_or_group}" if _is_number(override) else str(override.input_line) for override in parsed)


def _overlap(keys: Sequence[str]) -> bool:
    """Whether a key occurs twice, or beside one that it lies in."""
    return any(f"{later}.".startswith(f"{earlier}.") for earlier, later in pairwise(sorted(keys)))


def _is_number(override: Override) -> bool:
    return isinstance(override.value(), int | float) and not override.is_delete()

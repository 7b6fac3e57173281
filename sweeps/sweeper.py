"""What `hydra/sweeper=verl_optuna` does: a study of verl trials, or of a plain Hydra task function."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, flag_override

from harness import passwords
from harness.errors import ConfigError
from harness.types import Direction
from sweeps import storage
from sweeps.audience import LogAudience
from sweeps.custom_space import CustomSpace, load_custom_space, suggest_custom
from sweeps.loop import Loop, counted
from sweeps.plans.build import build_plan, refuse_for_tasks
from sweeps.pruners.build import build_pruner
from sweeps.runner import Proposal, Runner
from sweeps.samplers.build import build_sampler, refuse_objectives
from sweeps.space import Space, parse_space
from sweeps.study import write_results
from sweeps.tasks import BatchRunner, StreamingLauncher, StreamRunner

STUDY_TASK = "verl_sweep_study"  # the attribute that marks the task function of `verl-sweep`

optuna.logging.set_verbosity(optuna.logging.WARNING)  # every trial is told by our own lines


def sweep(context: HydraContext, task_function: TaskFunction, config: DictConfig, options: Mapping[str, Any], arguments: list[str]) -> Any:
    """Raises ConfigError before anything starts."""
    if getattr(task_function, STUDY_TASK, False):
        from sweeps.launch import launch_study

        return launch_study(context, config, checked(options), arguments)
    return _sweep_tasks(context, task_function, config, checked(options), arguments)


def checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """The sweeper's options as plain data. Raises ConfigError, by the option's name."""
    plain = {name: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value for name, value in options.items()}
    for name in ("n_trials", "n_jobs"):
        value = plain[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"hydra.sweeper.{name}: expected a whole number, 1 or more, got {value!r}")
    rate = plain["max_failure_rate"]
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
        raise ConfigError(f"hydra.sweeper.max_failure_rate: expected a share from 0 to 1, got {rate!r}")
    plain["params"] = plain["params"] or {}
    return plain


def directions_of(option: object) -> list[Direction]:
    """One direction, or one for each objective. Raises ConfigError."""
    given = option if isinstance(option, list) else [option]
    try:
        return [Direction(str(getattr(direction, "name", direction))) for direction in given]
    except ValueError as error:
        raise ConfigError(f"hydra.sweeper.direction: expected minimize or maximize (or a list of them), got {option!r}") from error


def read_space(options: Mapping[str, Any], arguments: Sequence[str], context: HydraContext) -> tuple[Space, CustomSpace | None]:
    """The search space of the options and the command line."""
    custom = load_custom_space(options["custom_search_space"]) if options["custom_search_space"] else None
    space = parse_space(list(arguments), options["params"], context.config_loader, allow_empty=custom is not None)
    return space, custom


def number_of_trials(wanted: int, space: Space, sampler: optuna.samplers.BaseSampler) -> int:
    """A sampler that tries every point once has no more than there are."""
    return min(wanted, space.size) if is_exhaustive(sampler) and space.size is not None else wanted


def is_exhaustive(sampler: optuna.samplers.BaseSampler) -> bool:
    return isinstance(sampler, optuna.samplers.GridSampler | optuna.samplers.BruteForceSampler)


def proposer(space: Space, custom: CustomSpace | None, config: DictConfig) -> Any:
    """Optuna's trial to a proposal; lets the user's own search space suggest too."""

    def propose(trial: optuna.Trial) -> Proposal:
        added = suggest_custom(custom, config, trial, space) if custom is not None else ()
        point = {name: trial.params[name] for name in space.distributions}
        return Proposal(number=trial.number, params=dict(trial.params), overrides=(*space.arguments(point), *added))

    return propose


def _sweep_tasks(
    context: HydraContext, task_function: TaskFunction, config: DictConfig, options: dict[str, Any], arguments: list[str]
) -> None:
    """As hydra-optuna-sweeper does it: `n_trials` more trials of the study, results beside the jobs' folders."""
    directions = directions_of(options["direction"])
    space, custom = read_space(options, arguments, context)
    backend = storage.database(options["storage"]) if options["storage"] else storage.memory()
    known = _trials_so_far(backend, options["study_name"])
    sampler = build_sampler(options["sampler"], space, trials_so_far=known, study_seed=None)
    pruner = build_pruner(options["pruner"]) if options["pruner"] else optuna.pruners.NopPruner()
    refuse_for_tasks(build_plan(options["plan"]))
    refuse_objectives(sampler, len(directions))
    study = optuna.create_study(
        study_name=options["study_name"],
        storage=backend,
        sampler=sampler,
        pruner=pruner,
        directions=[direction.value for direction in directions],
        load_if_exists=True,
    )
    config = _without_passwords(config)
    launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task_function, config=config)
    runner, at_once = _runner(launcher, options["n_jobs"], len(directions))
    folder = Path(str(OmegaConf.select(config, "hydra.sweep.dir")))
    folder.mkdir(parents=True, exist_ok=True)
    loop = Loop(
        study=study,
        runner=runner,
        propose=proposer(space, custom, config),
        distributions=space.distributions,
        n_trials=len(counted(study)) + number_of_trials(options["n_trials"], space, sampler),
        max_failure_rate=options["max_failure_rate"],
        at_once=at_once,
        audience=LogAudience(),
    )
    with contextlib.closing(runner.launcher) if isinstance(runner, StreamRunner) else contextlib.nullcontext():
        loop.run()
    write_results(study, folder / "optimization_results.yaml")


def _without_passwords(config: DictConfig) -> DictConfig:
    """Hydra writes the sweeper's own options into each job's folder, and composes them from the command line again for each job."""
    url = OmegaConf.select(config, "hydra.sweeper.storage")
    if not url or passwords.address(url) == url:
        return config
    clean = copy.deepcopy(config)
    with flag_override(clean, ["readonly", "struct"], False):
        typed = passwords.arguments(map(str, clean.hydra.overrides.hydra))
        clean.hydra.overrides.hydra = [*typed, f"hydra.sweeper.storage='{passwords.address(url)}'"]
        clean.hydra.sweeper.storage = passwords.address(url)
    return clean


def _runner(launcher: Launcher, n_jobs: int, directions: int) -> tuple[Runner, int]:
    from hydra_plugins.verl_local_launcher import LocalLauncher

    if isinstance(launcher, LocalLauncher):
        room = launcher.job_slots(n_jobs)
        streaming: StreamingLauncher = launcher
        return StreamRunner(launcher=streaming, size=min(room, n_jobs), directions=directions), min(room, n_jobs)
    return BatchRunner(launcher=launcher, size=n_jobs, directions=directions), n_jobs


def _trials_so_far(backend: optuna.storages.BaseStorage, name: str | None) -> int:
    if name is None:
        return 0
    return next((summary.n_trials for summary in optuna.get_all_study_summaries(backend) if summary.study_name == name), 0)

"""A composed configuration to what an engine and an attempt need: argument list, environment, capsule; pure."""

from __future__ import annotations

import copy
import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.fingerprint import fingerprint
from harness.paths import AttemptPaths, EnginePaths, StudyPaths
from harness.types import AttemptSpec, EngineSpec, Limits, Slot, TrialSpec

MIB = 2**20


def attempt_spec(
    trial: TrialSpec,
    attempt: AttemptPaths,
    config: Mapping[str, Any],
    *,
    run_id: str,
    tracking: Mapping[str, str],
    loggers: tuple[str, ...],
    scratch: str,
    object_store_mib: int,
) -> AttemptSpec:
    """What is written into the attempt's folder. `config` is verl's resolved tree; `scratch` is the engine's short temporary folder."""
    return AttemptSpec(
        study=trial.study,
        trial=trial.number,
        attempt=attempt.number,
        run_id=run_id,
        # verl's file logger replaces an older file and makes no folder: one name an attempt, in a folder that exists.
        environment={"VERL_FILE_LOGGER_PATH": str(attempt.metrics), **tracking},
        fingerprint=fingerprint(config),
        config=encapsulate(
            config,
            project=trial.study,
            experiment=f"trial-{trial.number:04d}",
            checkpoints=attempt.trial.checkpoints,
            loggers=loggers,
            scratch=scratch,
            object_store_mib=object_store_mib,
        ),
    )


def warm_up_spec(engine: EnginePaths, config: Mapping[str, Any], *, object_store_mib: int) -> AttemptSpec:
    """What an engine starts with that stands by: `config` is verl's resolved tree for any trial that it could serve."""
    return AttemptSpec(
        study=engine.study.name,
        trial=None,
        attempt=engine.warm_up.number,
        run_id="",
        environment={},
        fingerprint=fingerprint(config),
        config=encapsulate(
            config,
            project=engine.study.name,
            experiment=engine.root.name,
            checkpoints=engine.warm_up.trial.checkpoints,  # never made
            loggers=("console",),
            scratch=scratch_folder(engine.study, engine.number),
            object_store_mib=object_store_mib,
        ),
    )


def engine_spec(
    study: StudyPaths,
    number: int,
    slot: Slot,
    module: str,
    *,
    limits: Limits,
    structure: str,
    serves: int,
    growth: float,
    threads: int,
    preload: bool,
    environment: Mapping[str, str],
) -> EngineSpec:
    """A process tree that serves attempts on a slot: the program `module`, each of whose processes may compute with `threads`."""
    folder = study.engine(number).root
    return EngineSpec(
        engine=engine_name(study, number),
        slot=slot,
        argv=(sys.executable, "-m", module, str(folder)),
        environment={**capsule_environment(slot, threads), **environment},
        scratch=scratch_folder(study, number),
        limits=limits,
        fingerprint=structure,
        serves=serves,
        growth=growth,
        preload=preload,
    )


def engine_name(study: StudyPaths, number: int) -> str:
    """Unique on a host: the cookie in the environment of all that the engine starts."""
    return f"{study.name}-{number}-{_digest(str(study.root.absolute()))[:8]}"


def scratch_folder(study: StudyPaths, number: int) -> str:
    """Short, because Ray's sockets lie below it and a socket's path must stay under 107 bytes (sun_path, unix(7))."""
    return f"/tmp/vs-{_digest(f'{study.root.absolute()}/{number}')[:10]}"  # noqa: S108 (unguessable is not the point, short is)


def run_id(study: str, created_at: float, trial: int) -> str:
    """The tracker's id of a trial's run: the same for every attempt and every controller, another for another study of the same name."""
    return f"{study_key(study, created_at)}-{trial:04d}"


def study_key(study: str, created_at: float) -> str:
    """Names a study among all that ever had its name; the same for every controller."""
    return f"{study}-{_digest(repr(created_at))[:6]}"


def capsule_environment(slot: Slot, threads: int) -> dict[str, str]:
    """Additions to the environment of all processes of an engine."""
    # A CPU slot has none: Ray refuses the logical GPU of verl's `cpu` platform where the variable is there and empty.
    gpus = {"CUDA_VISIBLE_DEVICES": ",".join(slot.gpus)} if slot.gpus else {}
    return gpus | {
        "OMP_NUM_THREADS": str(threads),  # Ray sets 1 in actors otherwise
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # Ray's own 15 hands the processor to anything else on the host
        "RAY_DEDUP_LOGS": "0",  # a repeated line may be the one that explains
        "TOKENIZERS_PARALLELISM": "false",
        "HYDRA_FULL_ERROR": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "",  # where it is set, torch and verl are compiled anew in every process of every engine
        "VLLM_USE_FLASHINFER_SAMPLER": "0",  # vLLM dies without the package otherwise, and only in the workers
        "VLLM_DISABLE_COMPILE_CACHE": "0",  # verl's default of 1 compiles anew for every trial
        "VLLM_NO_USAGE_STATS": "1",
    }


def encapsulate(
    config: Mapping[str, Any],
    *,
    project: str,
    experiment: str,
    checkpoints: Path,
    loggers: tuple[str, ...],
    scratch: str,
    object_store_mib: int,
) -> dict[str, Any]:
    """verl's tree with everything that two trials could share by accident made the attempt's own."""
    tree: dict[str, Any] = copy.deepcopy(dict(config))
    trainer = tree.setdefault("trainer", {})
    trainer["project_name"] = project
    trainer["experiment_name"] = experiment
    trainer["default_local_dir"] = str(checkpoints)  # verl's default is shared, and resume_mode=auto resumes another trial's
    trainer["resume_mode"] = "auto"  # a later attempt goes on from this trial's own last checkpoint
    trainer["logger"] = list(loggers)
    ray_init = tree.setdefault("ray_kwargs", {}).setdefault("ray_init", {})
    ray_init["address"] = "local"  # never the last cluster that was started on the host
    ray_init["include_dashboard"] = False
    ray_init["object_store_memory"] = object_store_mib * MIB  # Ray's default is 30 % of the host for each cluster
    ray_init["_temp_dir"] = scratch
    return tree


def configuration_id(params: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that name a point without its seed; replicates share them."""
    return _digest(repr(sorted((name, value) for name, value in params.items() if name != "seed")))[:8]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

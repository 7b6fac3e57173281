"""Whatever form recordings have, they become tasks: curves, past studies, verl's metric files; and their space is spanned."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import yaml
from factory import METRIC, StudyFactory, drill_curve
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from harness.errors import ConfigError
from harness.runs.nouns import Wishes
from harness.types import Direction, Objective, Reason, TrialState
from sweeps.replay.curves import perf_by_task
from sweeps.replay.read import read_tasks
from sweeps.replay.sampler import RecordedSampler
from sweeps.replay.space import COPY, span


def saved(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "one.npz", **arrays)
    return folder


# curves


def test_a_file_of_curves_is_a_task(tmp_path: Path) -> None:
    perf = np.arange(24, dtype=np.float32).reshape(3, 2, 4)
    perf[1, 1, 2:] = math.nan
    perf[2, 1, 1] = math.nan
    saved(tmp_path, perf_CST=perf, configs=json.dumps([{"lr": 1e-4, "w": None}, {"lr": 1e-3, "w": 2.0}, {"lr": 1e-2, "w": 4.0}]))
    (task,) = read_tasks(tmp_path)
    assert (task.name, task.labels, task.seeds, task.total_steps) == ("one", (0, 1, 2), 2, 4)
    assert task.curves_cs[0][1] == ((1, 4.0), (2, 5.0), (3, 6.0), (4, 7.0))
    assert task.curves_cs[2][1] == ((1, 20.0), (3, 22.0), (4, 23.0)), "a point that is missing is no divergence"
    diverged = task.curves_cs[1][1]
    assert diverged is not None
    assert [step for step, _ in diverged] == [1, 2, 3]
    assert math.isnan(diverged[-1][1])
    assert task.objective.direction is Direction.MAXIMIZE
    assert task.truths() == (5.0, (11 + 3) / 2, 21.0)
    assert perf_by_task(tmp_path)["one"].shape == (3, 2, 4)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, "has no array perf_CST"),
        ({"perf_CST": np.zeros((2, 3)), "configs": "[]"}, r"expected perf_CST of configurations \(two at least\) x seeds x checkpoints"),
        ({"perf_CST": np.zeros((1, 3, 4)), "configs": "[{}]"}, "float64 of shape"),
        ({"perf_CST": np.zeros((2, 3, 4)), "configs": "[{}]"}, "expected configs to list 2 mappings"),
        ({"perf_CST": np.zeros((2, 3, 4)), "configs": "[{"}, "expected configs to be one JSON text"),
        ({"perf_CST": np.array([object()])}, "no .npz file of plain arrays"),
    ],
)
def test_a_file_that_holds_no_curves_is_refused(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_tasks(saved(tmp_path, **arrays))


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"holds no recorded curves \(\*.npz\), no study \(study.yaml\), no verl metrics .* and no W&B runs"
    ):
        read_tasks(tmp_path)
    with pytest.raises(ConfigError, match="is no folder"):
        read_tasks(tmp_path / "nowhere")
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04torn")
    with pytest.raises(ConfigError, match=r"torn\.npz is no \.npz file"):
        read_tasks(tmp_path)


# past studies


def test_a_past_study_is_a_task_of_those_that_trained_to_their_end_or_diverged(tmp_path: Path) -> None:
    study = StudyFactory(tmp_path, objectives=(Objective(metric=METRIC, direction=Direction.MINIMIZE),))
    for number, (seed, configuration) in enumerate([(1, "a"), (2, "a"), (1, "b")]):
        study.ended(number, params={"lr": 1e-3 * (1 + (configuration == "b"))}, seed=seed, configuration=configuration)
    study.ended(3, TrialState.PRUNED, params={"lr": 1.0}, configuration="c")
    study.ended(4, TrialState.FAIL, reason=Reason.CRASHED, params={"lr": 2.0}, configuration="d")
    study.ended(5, TrialState.FAIL, reason=Reason.NON_FINITE, params={"lr": 3.0}, configuration="e", steps=4)
    study.running(6, params={"lr": 4.0}, configuration="f")
    (task,) = read_tasks(study.paths.root)
    assert (task.labels, task.seeds, task.total_steps) == ((0, 2, 5), 2, 30)
    assert task.params == ({"lr": 1e-3}, {"lr": 2e-3}, {"lr": 3.0})
    assert task.curves_cs[1][1] is None, "it was run with one seed"
    assert task.curves_cs[1][0] == tuple(enumerate(drill_curve(2, 30, 30), 1))
    diverged = task.curves_cs[2][0]
    assert diverged is not None
    assert diverged[-1][0] == 5
    assert math.isnan(diverged[-1][1])
    assert task.objective.direction is Direction.MINIMIZE


def test_a_study_of_two_objectives_or_of_nothing_that_ended_is_refused(tmp_path: Path) -> None:
    two = StudyFactory(tmp_path, "two", objectives=(Objective(metric="a"), Objective(metric="b")))
    with pytest.raises(ConfigError, match="has 2 objectives; a replay needs a study of one"):
        read_tasks(two.paths.root)
    none = StudyFactory(tmp_path, "none")
    none.ended(0, TrialState.PRUNED)
    with pytest.raises(ConfigError, match="has 0 configurations that trained to their end"):
        read_tasks(none.paths.root)


# verl's metric files


def metrics(path: Path, values: list[float | None]) -> None:
    lines = [{"step": step, "data": {"val-core/x/acc/mean@1": value, "loss": 1.0}} for step, value in enumerate(values)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_metric_files_alone_are_a_configuration_each(tmp_path: Path) -> None:
    metrics(tmp_path / "a.jsonl", [0.0, 0.1, 0.2])
    metrics(tmp_path / "b.jsonl", [0.0, 0.3, 0.4])
    metrics(tmp_path / "stopped.jsonl", [0.0, 0.9])
    metrics(tmp_path / "diverged.jsonl", [0.0, None])
    (task,) = read_tasks(tmp_path)
    assert task.labels == ("a", "b", "diverged")
    assert task.curves_cs[0][0] == ((1, 0.1), (2, 0.2)), "step 0 is the untrained model"
    assert task.truths() == (0.2, 0.4, 0.2)
    assert list(span(task.params, {}).distributions) == [COPY]


def test_a_file_beside_them_says_what_they_are(tmp_path: Path) -> None:
    runs = {}
    for name, seed, lr in (("a", 0, 1e-4), ("b", 1, 1e-4), ("c", 0, 1e-3)):
        metrics(tmp_path / f"{name}.jsonl", [0.0, 0.1, lr])
        runs[f"{name}.jsonl"] = {"params": {"lr": lr}, "seed": seed}
    (tmp_path / "runs.yaml").write_text(yaml.safe_dump({"objective": {"metric": "val-core/*", "direction": "minimize"}, "runs": runs}))
    (task,) = read_tasks(tmp_path)
    assert (task.labels, task.params) == (("a", "c"), ({"lr": 1e-4}, {"lr": 1e-3}))
    assert task.objective == Objective(metric="val-core/*", direction=Direction.MINIMIZE)
    assert [sum(curve is not None for curve in curves) for curves in task.curves_cs] == [2, 1]


def test_another_objective_can_be_wished_for(tmp_path: Path) -> None:
    metrics(tmp_path / "a.jsonl", [0.0, 0.1])
    metrics(tmp_path / "b.jsonl", [0.0, 0.2])
    (task,) = read_tasks(tmp_path, Wishes(metric="loss"))
    assert (task.objective.metric, task.truths()) == ("loss", (1.0, 1.0))


def test_a_study_and_curves_have_their_own_objective(tmp_path: Path) -> None:
    study = StudyFactory(tmp_path)
    study.ended(0)
    with pytest.raises(ConfigError, match="is a study, which has its own objective: --objective"):
        read_tasks(study.paths.root, Wishes(metric="loss"))
    with pytest.raises(ConfigError, match="holds curves, which have no metrics: --objective"):
        read_tasks(saved(tmp_path, perf_CST=np.zeros((2, 3, 4)), configs="[{}, {}]"), Wishes(tag="old"))


def test_one_configuration_is_nothing_to_choose_from(tmp_path: Path) -> None:
    metrics(tmp_path / "a.jsonl", [0.0, 0.1])
    with pytest.raises(ConfigError, match=r"1 configuration that logged .* to their end; a replay needs two at least"):
        read_tasks(tmp_path)


# their space


def test_the_space_that_configurations_span_has_their_types_and_scales() -> None:
    configurations = [
        {"lr": 1e-6, "tau": 0.5, "n": 2, "kind": "a", "flag": True, "same": 1.0},
        {"lr": 1e-2, "tau": 0.9, "n": 8, "kind": None, "flag": False, "same": 1.0},
        {"lr": 1e-4, "tau": None, "n": 4, "kind": "b", "flag": True, "same": 1.0},
    ]
    space = span(configurations, {})
    assert space.distributions == {
        "flag": CategoricalDistribution((False, True)),
        "kind": CategoricalDistribution(("a", "b")),
        "lr": FloatDistribution(1e-6, 1e-2, log=True),
        "n": IntDistribution(2, 8),
        "tau": FloatDistribution(0.5, 0.9),
    }
    assert space.points[2] == {"flag": True, "kind": "b", "lr": 1e-4, "n": 4, "tau": 0.7}, "what does not apply stands in the middle"
    assert [space.index(point) for point in space.points] == [0, 1, 2]


def test_the_nearest_is_by_the_scale_of_each_knob() -> None:
    space = span([{"lr": 1e-6}, {"lr": 1e-4}, {"lr": 1e-2}], {})
    assert space.nearest({"lr": 1e-3 * 0.9}, {0, 1, 2}) == 1
    assert space.nearest({"lr": 1e-3 * 1.1}, {0, 1, 2}) == 2
    assert space.nearest({"lr": 1e-2}, {0, 1}) == 1


def test_configurations_that_agree_in_every_knob_are_told_apart() -> None:
    space = span([{"x": 1.0}, {"x": 2.0}, {"x": 1.0}], {})
    assert [point[COPY] for point in space.points] == [0, 0, 1]
    assert [space.index(point) for point in space.points] == [0, 1, 2]


def test_a_study_that_is_known_keeps_its_distributions() -> None:
    known = {"x": optuna.distributions.distribution_to_json(FloatDistribution(0.0, 10.0))}
    assert span([{"x": 1.0}, {"x": 2.0}], known).distributions == {"x": FloatDistribution(0.0, 10.0)}


# its sampler


def test_what_a_sampler_remembers_are_recorded_configurations_each_once() -> None:
    space = span([{"x": float(index), "lr": 10.0**-index} for index in range(12)], {})
    sampler = RecordedSampler(optuna.samplers.TPESampler(seed=0, n_startup_trials=3), space, order=range(12))
    study = optuna.create_study(sampler=sampler, direction="maximize")
    for _ in range(12):
        trial = study.ask(dict(space.distributions))
        study.tell(trial, trial.params["x"])
    assert sorted(space.index(trial.params) for trial in study.trials) == list(range(12))
    again = study.ask(dict(space.distributions))
    assert again.params in space.points, "where all were tried, the nearest is tried again"

"""The surrogate learns of trials that did not come to their end, keeps away from what runs, and proposes what its space holds."""

from __future__ import annotations

import math

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from sweeps.samplers.encoding import encode, value_at
from sweeps.samplers.gaussian_process import NOISE, Surface, normal_scores, relevance
from sweeps.samplers.surrogate import SurrogateSampler, split

SPACE = {"x": FloatDistribution(0.0, 1.0), "y": FloatDistribution(1e-6, 1e-2, log=True)}


def sampler(seed: int = 0, *, candidates: object = None, startup: float = 0.0, least_startup: int = 6) -> SurrogateSampler:
    return SurrogateSampler(
        seed=seed,
        n_trials=20,
        startup=startup,
        least_startup=least_startup,
        courage=1.0,
        draws=256,
        candidates=candidates,  # type: ignore[arg-type]
    )


def paused(x: float, y: float, reports: dict[int, float], state: TrialState = TrialState.PRUNED) -> optuna.trial.FrozenTrial:
    return create_trial(state=state, params={"x": x, "y": y}, distributions=SPACE, intermediate_values=reports)


def study_of(*trials: optuna.trial.FrozenTrial, direction: str = "maximize") -> optuna.Study:
    study = optuna.create_study(direction=direction, sampler=sampler())
    study.add_trials(trials)
    return study


def test_it_goes_where_trials_that_were_stopped_at_the_first_rung_stood_high() -> None:
    trials = [paused(x / 10, 1e-4, {3: 1 - (x / 10 - 0.8) ** 2}) for x in range(10)]
    up = study_of(*trials)
    down = study_of(*trials, direction="minimize")
    ups, downs = [], []
    for seed in range(5):
        up.sampler = down.sampler = sampler(seed)
        ups.append(up.ask(SPACE).params["x"])
        down.sampler = sampler(seed)
        downs.append(down.ask(SPACE).params["x"])
    assert all(0.6 < x <= 1 for x in ups[:1])
    assert all(x < 0.3 for x in downs[:1])


def test_it_does_not_propose_again_where_another_one_runs() -> None:
    study = study_of(*(paused(x / 10, 1e-4, {3: 1 - (x / 10 - 0.55) ** 2}) for x in range(10)))
    first = study.ask(SPACE)
    study.sampler = sampler()  # the same random numbers
    second = study.ask(SPACE)
    assert first.params != second.params


def test_all_are_compared_at_the_step_that_most_have_reached() -> None:
    trials = [
        paused(0.1, 1e-4, {1: 0.1, 3: 0.2}),
        paused(0.2, 1e-4, {1: 0.2, 3: 0.4}),
        paused(0.3, 1e-4, {1: 0.3, 3: 0.3, 6: 0.9}),
        paused(0.4, 1e-4, {1: 0.9}),  # ended before
        paused(0.5, 1e-4, {1: 0.5, 4: 0.7}, TrialState.RUNNING),  # seen there at its first report after it
        paused(0.6, 1e-4, {1: 0.6}, TrialState.RUNNING),
        paused(0.7, 1e-4, {1: 0.7, 3: math.nan}),
    ]
    for number, trial in enumerate(trials):
        trial.number = number
    seen, pending = split(trials, 1)
    assert {trial.params["x"]: value for trial, value in seen} == {
        0.1: 0.2,
        0.2: 0.4,
        0.3: 0.3,
        0.4: -math.inf,
        0.5: 0.7,
        0.7: -math.inf,
    }
    assert [trial.params["x"] for trial in pending] == [0.6]


def test_trials_that_only_tell_how_they_ended_serve_too() -> None:
    study = optuna.create_study(direction="minimize", sampler=sampler())
    for x in range(8):
        study.add_trial(create_trial(params={"x": x / 8, "y": 1e-4}, distributions=SPACE, value=abs(x / 8 - 0.25)))
    assert 0.05 < study.ask(SPACE).params["x"] < 0.5


def test_of_candidates_each_is_tried_once_and_then_any() -> None:
    candidates = [{"x": x / 10, "y": 1e-4} for x in range(10)]
    study = optuna.create_study(direction="maximize")
    for number in range(10):
        study.sampler = sampler(number, candidates=candidates)
        trial = study.ask(SPACE)
        study.tell(trial, -abs(trial.params["x"] - 0.5))
    assert sorted(trial.params["x"] for trial in study.trials) == [x / 10 for x in range(10)]
    study.sampler = sampler(10, candidates=candidates)
    assert study.ask(SPACE).params in candidates


def test_scores_know_order_only() -> None:
    scores = normal_scores([3.0, 1.0, 2.0, -math.inf])
    assert list(np.argsort(scores)) == [3, 1, 2, 0]
    assert scores == pytest.approx(normal_scores([1e9, 0.1, 0.2, -5.0]))
    assert normal_scores([1.0, 1.0]) == pytest.approx([0.0, 0.0])
    assert normal_scores([1.0, 2.0]) == pytest.approx([-0.67449, 0.67449], abs=1e-5), "the quartiles of the normal distribution"


def test_a_column_that_explains_weighs_more_than_one_that_does_not() -> None:
    rng = np.random.default_rng(0)
    points = rng.random((60, 3))
    line, bend = relevance(points, normal_scores(points[:, 0])), relevance(points, normal_scores(-((points[:, 1] - 0.5) ** 2)))
    assert line[0] > 5 * line[1:].max()
    assert bend[1] > 5 * max(bend[0], bend[2])


def test_the_surface_is_the_textbooks_posterior() -> None:
    """Rasmussen and Williams, Gaussian Processes for Machine Learning, equations 2.25 and 2.26; one column has a length scale of 1."""
    seen, scores, at = np.array([[0.0], [0.5], [1.0]]), np.array([-1.0, 0.0, 1.0]), np.array([[0.25]])

    def kernel(a: float, b: float) -> float:
        r = math.sqrt(5) * abs(a - b)
        return (1 + r + r * r / 3) * math.exp(-r)

    covariance = np.array([[kernel(a, b) for b in seen[:, 0]] for a in seen[:, 0]]) + NOISE * np.eye(3)
    near = np.array([kernel(0.25, a) for a in seen[:, 0]])
    mean = near @ np.linalg.inv(covariance) @ scores
    spread = math.sqrt(1 - near @ np.linalg.inv(covariance) @ near)
    surface = Surface(seen, scores)
    assert surface.hope(at, np.zeros((0, 1)), courage=0) == pytest.approx([mean])
    assert surface.hope(at, np.zeros((0, 1)), courage=2) == pytest.approx([mean + 2 * spread])
    assert surface.hope(at, at, courage=2) < surface.hope(at, np.zeros((0, 1)), courage=2), "what runs there makes it less uncertain"


def test_a_space_is_measured_as_it_is_drawn_from() -> None:
    space = {
        "log": FloatDistribution(1e-4, 1e-2, log=True),
        "n": CategoricalDistribution([4, 16, 8]),
        "flag": CategoricalDistribution([False, True]),
        "loss": CategoricalDistribution(["a", "b", "c"]),
        "k": IntDistribution(2, 10, step=4),
    }
    point = {"log": 1e-3, "n": 8, "flag": True, "loss": "b", "k": 6}
    assert encode(point, space) == pytest.approx([0.5, 0.5, 1.0, 0.0, 1.0, 0.0, 0.5])
    assert encode({**point, "log": None}, space)[0] == 0.5
    for share in (0.0, 0.3, 0.999999):
        for distribution in space.values():
            value = value_at(share, distribution)
            assert distribution._contains(distribution.to_internal_repr(value))
    assert [value_at(share, space["k"]) for share in (0.0, 0.5, 0.99)] == [2, 6, 10]


@pytest.mark.parametrize("wrong", [{"startup": 1.5}, {"least_startup": -1}])
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="startup: expected a share from 0 to 1"):
        sampler(**wrong)  # type: ignore[arg-type]

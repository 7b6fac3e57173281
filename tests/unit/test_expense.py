"""What a training has used up, by its own metrics."""

from __future__ import annotations

import math

import pytest

from harness.expense import Expense, Resource
from harness.types import MetricPoint


def expense(resource: Resource, *points: tuple[int, dict[str, float]], gpus: float = 1.0) -> Expense:
    collected = Expense(resource=resource, gpus=gpus)
    for step, values in points:
        collected.add(MetricPoint(step=step, values=values))
    return collected


def test_tokens_are_the_sum_of_the_steps_so_far() -> None:
    tokens = [(step, {"perf/total_num_tokens": 100.0 * step}) for step in (1, 2, 3)]
    collected = expense(Resource.TOKENS, (0, {"val-core/x": 0.1}), *tokens, gpus=8)
    assert [collected.up_to(step) for step in range(4)] == [0, 100, 300, 600]


@pytest.mark.parametrize(("gpus", "seconds"), [(2.0, 23.0), (0.5, 5.75), (0.0, 11.5)])
def test_gpu_seconds_are_those_of_all_gpus_with_the_validation(gpus: float, seconds: float) -> None:
    """A slot on a part of a GPU is charged that part; one on the processors counts as one GPU."""
    collected = expense(Resource.GPU_SECONDS, (1, {"timing_s/step": 5.0}), (2, {"timing_s/step": 4.0, "timing_s/testing": 2.5}), gpus=gpus)
    assert collected.up_to(2) == seconds


def test_a_step_that_was_trained_again_counts_once_and_with_its_later_word() -> None:
    lines = [(1, 10.0), (2, 20.0), (3, 30.0), (2, 25.0)]
    collected = expense(Resource.TOKENS, *((step, {"perf/total_num_tokens": amount}) for step, amount in lines))
    assert [collected.up_to(step) for step in (2, 3)] == [35, 65]


def test_what_is_no_amount_counts_for_nothing() -> None:
    lines = [math.nan, math.inf, -5.0, 7.0]
    collected = expense(Resource.TOKENS, *((step, {"perf/total_num_tokens": amount}) for step, amount in enumerate(lines, 1)))
    assert collected.up_to(4) == 7

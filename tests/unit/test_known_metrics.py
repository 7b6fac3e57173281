"""An objective that will never be logged is refused with the nearest one that will."""

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import ConfigError
from harness.known_metrics import NAMES, refuse_unknown

VALIDATES: dict[str, Any] = {"trainer": {"test_freq": 5, "val_before_train": True}}
NEVER: dict[str, Any] = {"trainer": {"test_freq": -1, "val_before_train": True}}


@pytest.mark.parametrize(
    "metric",
    [
        *NAMES,
        "val-core/*/acc/mean@1",
        "val-core/openai/gsm8k/acc/mean@1",
        "val-aux/*/score/mean@1",
        "critic/*/mean",
        "actor/my_own_loss",  # a family may hold more than is listed
        "timing_s/reward",
        "*",
    ],
)
def test_what_verl_logs_is_accepted(metric: str) -> None:
    refuse_unknown(metric, VALIDATES)


@pytest.mark.parametrize(
    ("metric", "nearest"),
    [
        ("critic/score/meen", "critic/score/mean"),
        ("critic/rewards/men", "critic/rewards/mean"),
        ("actor/grad_nrom", "actor/grad_norm"),
        ("val_core/*/acc/mean@1", "val-core/*/acc/mean@1"),
        ("crtic/score/mean", "critic/score/mean"),
    ],
)
def test_a_slip_of_the_pen_is_refused_with_the_name_that_was_meant(metric: str, nearest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_unknown(metric, VALIDATES)
    assert str(caught.value) == f"objective.metric: verl logs no metric {metric!r}; did you mean {nearest}?"


def test_a_name_like_no_other_is_refused_with_the_families_there_are() -> None:
    with pytest.raises(ConfigError, match="its families are val-core/, val-aux/, actor/"):
        refuse_unknown("zzz", VALIDATES)


@pytest.mark.parametrize("metric", ["val-core/*/acc/mean@1", "val-aux/x"])
def test_a_validation_metric_without_validation_is_refused_with_the_cure(metric: str) -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_unknown(metric, NEVER)
    assert str(caught.value) == f"objective.metric: {metric} is never logged without validation; set trainer.test_freq to 1 or more steps"


def test_a_training_metric_needs_no_validation() -> None:
    refuse_unknown("critic/score/mean", NEVER)

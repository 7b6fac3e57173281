"""The section `guards` is read as it stands in conf/config.yaml, and what cannot work is refused with key and cure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.errors import ConfigError
from sweeps.guard_config import read_guards

ROOT = Path(__file__).parents[2]


def section(**changes: Any) -> dict[str, Any]:
    node = yaml.safe_load((ROOT / "conf" / "config.yaml").read_text())["guards"]
    for key, value in changes.items():
        parent, _, name = key.rpartition("__")
        (node[parent] if parent else node)[name] = value
    return node


def test_every_guard_is_on_by_default_and_documented() -> None:
    guards = read_guards(section())
    special = (guards.no_signal, guards.reward_hacking, guards.non_finite)
    assert all(special)
    page = (ROOT / "docs" / "guards.md").read_text()
    for code in [*(level.code for level in guards.levels), "no_signal", "reward_hacking", "non_finite"]:
        assert f"| `{code}` |" in page


@pytest.mark.parametrize("code", [key for key, value in section().items() if isinstance(value, dict)])
def test_null_switches_a_guard_off(code: str) -> None:
    guards = read_guards(section(**{code: None}))
    assert code not in [level.code for level in guards.levels]
    assert code not in ("no_signal", "reward_hacking", "non_finite") or getattr(guards, code) is None


def test_a_guard_of_ones_own_watches_any_metric() -> None:
    own = {**section()["kl_blow_up"], "metric": "critic/vf_loss"}
    assert read_guards(section(value_blow_up=own)).levels[-1].code == "value_blow_up"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kl_blow_up__patience": 1}, "guards.kl_blow_up.patience: expected a whole number, 2 or more, got 1"),
        ({"no_signal__patience": "many"}, "guards.no_signal.patience: expected a whole number, 2 or more, got 'many'"),
        ({"least_peers": 0}, "guards.least_peers: expected a whole number, 1 or more, got 0"),
        ({"kl_blow_up__peer_factor": 0.5}, "guards.kl_blow_up.peer_factor: expected a factor, 1 or more, or null, got 0.5"),
        ({"kl_blow_up__below": 1.0}, "guards.kl_blow_up: expected a number for above or for below, one of the two"),
        ({"kl_blow_up__above": "high"}, "guards.kl_blow_up.above: expected `float | null`, got `str`"),
        ({"kl_blow_up__above": float("nan")}, "guards.kl_blow_up.above: expected a number, got nan"),
        ({"reward_hacking__fall": -0.1}, "guards.reward_hacking.fall: expected a share above 0, got -0.1"),
        ({"kl_blow_up__action": "warn"}, "guards.kl_blow_up.action: invalid enum value 'warn'"),
        ({"kl_blow_up__factor": 3}, "guards.kl_blow_up.factor: not a setting; there are metric, above, "),
        ({"non_finite": 3}, "guards.non_finite: expected a guard's settings, or null for none, got 3"),
        ({"grace": 3}, "guards.grace: not a setting; there are grace_steps, "),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_guards(section(**changes))
    assert str(caught.value).startswith(sentence)

"""Our FSDP engines beside verl's own: the same numbers, and a critic for models that verl has none for."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_models

pytestmark = [pytest.mark.verl, pytest.mark.skipif(importlib.util.find_spec("verl") is None, reason="needs the cpu extra")]

PROBE = Path(__file__).parents[1] / "fsdp_probe.py"


def ask(*question: str) -> Any:
    """In a process of its own: verl knows one platform a process, and warns of much."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-W", "ignore", str(PROBE), *question], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module", params=sorted(tiny_models.MAKERS))
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / request.param
    folder.mkdir()
    tiny_models.MAKERS[request.param](folder)
    return folder


def test_log_probs_entropy_and_their_gradients_are_verls_own_for_every_shape_of_batch():
    farthest = ask("farthest")
    assert len(farthest) == 16
    assert max(farthest.values()) < 1e-5


def test_on_nvidias_gpus_our_engines_are_built_and_on_others_verls():
    found = ask("registered")
    assert found["nvidia"] == ["CudaLanguageModel", "CudaLanguageModel", "CudaValueModel", "CudaValueModel"]
    assert set(found["other"]) == {"FSDPEngineWithLMHead", "FSDPEngineWithValueHead"}


def test_the_rollout_of_vllm_has_a_socket_for_weights_that_no_other_engine_has():
    assert ask("rollouts") == ["harness.inside.vllm_rollout.Adapter", "harness.inside.weight_sockets"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "head"), [("llama", "score"), ("pangu", "lm_head")])
def test_a_critic_with_adapters_trains_its_new_head_whole(tmp_path, name, head):
    tiny_models.MAKERS[name](tmp_path)
    answer = ask("adapted", str(tmp_path))
    assert [learned.split(".")[-1] for learned in answer["learned"]] == ["weight", "bias"]
    assert all(f".{head}." in learned for learned in answer["learned"])
    assert answer["norm"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["language_model", "value_model"])
def test_every_kind_of_model_is_an_actor_and_a_critic_by_the_keys_of_the_policy_hf(model, kind):
    answer = ask("forward", str(model), kind)
    assert answer["values"] == [18 if model.name == "vision_language" else 14]  # one a token
    assert answer["norm"] > 0
    assert answer["code"] == sorted(file.name for file in model.glob("*.py"))  # a checkpoint has the model's own code with it

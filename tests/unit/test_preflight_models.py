"""A model's files, read before anything starts: what is missing is named with its cure, and what may be right is left alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from preflight_config import MODEL, ROLLOUT, legal

from harness.preflight import Finding, Severity, check

PATH, TEMPLATE, CONSENT = f"{MODEL}.path", f"{MODEL}.custom_chat_template", f"{MODEL}.trust_remote_code"
OWN_CODE = {
    "model_type": "PanguEmbedded",
    "architectures": ["PanguEmbeddedForCausalLM"],
    "auto_map": {"AutoConfig": "configuration_x.XConfig", "AutoModelForCausalLM": "modeling_x.XForCausalLM"},
}


def findings(tmp_path: Path, **overrides: Any) -> list[Finding]:
    """About the model in `tmp_path`/model, as it is now."""
    return [finding for finding in check(config(tmp_path, **overrides)) if not finding.key.startswith(("data.", "reward."))]


def config(tmp_path: Path, **overrides: Any) -> dict[str, Any]:
    files = {file: file.read_bytes() for file in (tmp_path / "model").glob("*")}
    tree = legal(tmp_path, **overrides)  # writes a whole model there
    for file in (tmp_path / "model").iterdir():
        file.unlink()
    for file, content in files.items():
        file.write_bytes(content)
    return tree


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A whole model."""
    legal(tmp_path)
    return tmp_path / "model"


def write(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content))


def told(found: list[Finding], key: str) -> str:
    (finding,) = found
    assert finding.key == key
    assert finding.severity is Severity.REFUSE
    return finding.message


def test_a_whole_model_passes(model: Path, tmp_path: Path) -> None:
    assert findings(tmp_path) == []


def test_a_folder_without_weights_is_refused(model: Path, tmp_path: Path) -> None:
    (model / "model.safetensors").unlink()
    assert "holds no weights" in told(findings(tmp_path), PATH)


def test_a_download_that_lacks_a_shard_is_refused_with_the_shards_name(model: Path, tmp_path: Path) -> None:
    (model / "model.safetensors").rename(model / "model-1-of-2.safetensors")
    write(model / "model.safetensors.index.json", {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}})
    assert "1 of 2 files of weights are not in" in (message := told(findings(tmp_path), PATH))
    assert "model-2-of-2.safetensors" in message


def test_what_git_leaves_of_a_large_file_is_no_weights(model: Path, tmp_path: Path) -> None:
    (model / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "git lfs pull" in told(findings(tmp_path), PATH)


def test_weights_are_asked_of_fsdp_alone(model: Path, tmp_path: Path) -> None:
    (model / "model.safetensors").unlink()
    assert PATH not in [finding.key for finding in findings(tmp_path, **{"actor_rollout_ref.actor.strategy": "megatron"})]


def test_a_folder_without_a_tokenizer_is_refused_with_the_key_that_names_another(model: Path, tmp_path: Path) -> None:
    (model / "tokenizer.json").unlink()
    key = f"{MODEL}.tokenizer_path"
    assert f"{key}=<folder or hub id>" in told(findings(tmp_path), key)
    other = tmp_path / "tokenizer"
    other.mkdir()
    write(other / "tokenizer_config.json", {"chat_template": "{{ messages }}"})
    assert findings(tmp_path, **{key: str(other)}) == []


def test_a_tokenizer_without_a_chat_template_is_refused_with_the_key_that_gives_one(model: Path, tmp_path: Path) -> None:
    (model / "chat_template.jinja").unlink()
    assert TEMPLATE in told(findings(tmp_path), TEMPLATE)
    assert findings(tmp_path, **{TEMPLATE: "{{ messages }}"}) == []
    assert findings(tmp_path, **{f"{ROLLOUT}.agent.default_agent_loop": "my_agent"}) == []


@pytest.mark.parametrize("place", ["tokenizer_config.json", "processor_config.json", "chat_template.json"])
def test_a_chat_template_is_found_wherever_transformers_finds_it(model: Path, tmp_path: Path, place: str) -> None:
    (model / "chat_template.jinja").unlink()
    write(model / place, {"chat_template": "{{ messages }}"})
    assert findings(tmp_path) == []


def test_a_tokenizer_with_code_of_its_own_may_have_a_template_there(model: Path, tmp_path: Path) -> None:
    (model / "chat_template.jinja").unlink()
    write(model / "tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["tokenization_x.XTokenizer", None]}})
    assert findings(tmp_path) == []


def test_code_of_the_models_own_needs_consent_and_its_files_are_named(model: Path, tmp_path: Path) -> None:
    write(model / "config.json", OWN_CODE)
    for name in ("configuration_x.py", "modeling_x.py"):
        (model / name).touch()
    assert "configuration_x.py, modeling_x.py" in (message := told(findings(tmp_path), CONSENT))
    assert f"{CONSENT}=True" in message
    assert findings(tmp_path, **{CONSENT: True}) == []


def test_the_critics_consent_is_its_own(model: Path, tmp_path: Path) -> None:
    write(model / "config.json", OWN_CODE)
    for name in ("configuration_x.py", "modeling_x.py"):
        (model / name).touch()
    ppo = {"algorithm.adv_estimator": "gae", "critic.model.path": str(model)}
    assert told(findings(tmp_path, **ppo, **{CONSENT: True}), "critic.model.trust_remote_code")
    assert findings(tmp_path, **ppo, **{CONSENT: True, "critic.model.trust_remote_code": True}) == []


def test_code_that_is_named_and_not_there_is_refused_even_with_consent(model: Path, tmp_path: Path) -> None:
    write(model / "config.json", OWN_CODE)
    (model / "configuration_x.py").touch()
    assert "modeling_x.py" in told(findings(tmp_path, **{CONSENT: True}), PATH)


def test_code_that_transformers_has_itself_needs_no_consent(model: Path, tmp_path: Path) -> None:
    write(model / "config.json", {**OWN_CODE, "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]})
    assert findings(tmp_path) == []


def test_an_architecture_that_nobody_here_knows_is_left_alone(model: Path, tmp_path: Path) -> None:
    write(model / "config.json", {"model_type": "brand_new", "architectures": ["BrandNewForCausalLM"]})
    assert findings(tmp_path) == []


@pytest.mark.parametrize("listed", [None, [], ["AForCausalLM", "BForCausalLM"]])
def test_verl_takes_models_of_one_architecture(model: Path, tmp_path: Path, listed: object) -> None:
    write(model / "config.json", {"model_type": "llama", "architectures": listed})
    assert "architectures" in told(findings(tmp_path), PATH)


def test_a_config_that_is_no_json_is_refused(model: Path, tmp_path: Path) -> None:
    (model / "config.json").write_text("{")
    assert "JSON" in told(findings(tmp_path), PATH)


def test_a_token_beyond_the_embedding_is_warned_of(model: Path, tmp_path: Path) -> None:
    write(model / "config.json", {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 7})
    write(model / "tokenizer.json", {"model": {"vocab": {"a": 0, "b": 6}}, "added_tokens": [{"id": 7}]})
    (finding,) = findings(tmp_path)
    assert finding.severity is Severity.WARN
    assert "token 7" in finding.message


def test_the_rollout_hf_is_refused_for_a_model_that_sees_images(model: Path, tmp_path: Path) -> None:
    shape = {"model_type": "qwen2_5_vl", "architectures": ["Qwen2_5_VLForConditionalGeneration"], "vision_config": {}}
    write(model / "config.json", shape)
    assert "text alone" in told(findings(tmp_path, **{f"{ROLLOUT}.name": "hf"}), f"{ROLLOUT}.name")
    assert findings(tmp_path, **{f"{ROLLOUT}.name": "vllm"}) == []


def test_a_hubs_model_is_refused_only_where_the_hub_may_not_be_asked_and_the_cache_lacks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = legal(tmp_path, **{PATH: "organisation/name"})
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    assert check(tree) == ()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "hf download" in told(list(check(tree)), PATH)
    copy = tmp_path / "home/hub/models--organisation--name/snapshots/0123"
    copy.mkdir(parents=True)
    write(copy / "config.json", {"model_type": "llama", "architectures": ["LlamaForCausalLM"]})
    assert check(tree) == ()
    write(copy / "config.json", OWN_CODE)
    assert told(list(check(tree)), CONSENT)

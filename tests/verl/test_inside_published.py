"""openPangu's published layout becomes transformers' Llama: the same numbers without code of its own, and no weight is copied."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.errors import ConfigError
from harness.inside.prepare import prepare

sys.path.insert(0, str(Path(__file__).parents[2]))  # benchmarks are no part of what is installed
from benchmarks.gpu.pangu import make_pangu

pytestmark = pytest.mark.verl


def test_a_llama_gives_the_logits_of_the_published_code_to_the_last_bit(tmp_path: Path) -> None:
    source, laid_out = tmp_path / "published", tmp_path / "policy"
    source.mkdir()
    make_pangu.make(source, shape="tiny", dtype=torch.float32)
    assert prepare("policy", "openpangu", laid_out, {"source": str(source)})
    config = json.loads((laid_out / "config.json").read_text())
    assert (config["model_type"], config["attention_bias"], config["mlp_bias"]) == ("llama", True, False)
    assert "auto_map" not in config
    assert not list(laid_out.glob("modeling_*"))
    assert all(path.is_symlink() for path in laid_out.glob("*.safetensors"))
    theirs = AutoModelForCausalLM.from_pretrained(source, trust_remote_code=True, dtype=torch.float32)
    ours = AutoModelForCausalLM.from_pretrained(laid_out, dtype=torch.float32)
    assert any(name.endswith("o_proj.bias") for name, _ in ours.named_parameters())
    tokens = AutoTokenizer.from_pretrained(laid_out)("12+34=", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.equal(ours(tokens).logits, theirs(tokens).logits)


def test_what_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match=r"policy\.source: nobody/nothing is no folder, and the hub does not give it"):
        prepare("policy", "openpangu", tmp_path / "policy", {"source": "nobody/nothing"})
    with pytest.raises(ConfigError, match=r"holds no config\.json that can be read"):
        prepare("policy", "openpangu", tmp_path / "policy", {"source": str(tmp_path)})
    assert not (tmp_path / "policy").exists()

"""Log-probabilities a block of rows at a time: verl's numbers, their gradient, and no memory of a row."""

# ruff: noqa: N803, N806 (arrays carry their shapes: tokens x vocabulary)

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from harness.inside import log_probs
from harness.inside.log_probs import log_probs_of

pytestmark = pytest.mark.verl


def row_by_row(logits_TV: torch.Tensor, labels_T: torch.Tensor) -> torch.Tensor:
    return torch.stack([row.float().log_softmax(-1)[label] for row, label in zip(logits_TV, labels_T, strict=True)])


@pytest.fixture(params=[1, 7, 10**6], ids=["a row a block", "a few rows a block", "one block"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_probs, "BLOCK_CPU", request.param * 19)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_and_gradients_are_those_of_a_log_softmax(blocks: None, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(0)
    logits_TV = (10 * torch.randn(23, 19, generator=draw)).to(dtype)
    labels_T = torch.randint(19, (23,), generator=draw)
    weight_T = torch.randn(23, generator=draw)
    found, expected = (logits_TV.clone().requires_grad_() for _ in range(2))
    mine_T, theirs_T = log_probs_of(found, labels_T), row_by_row(expected, labels_T)
    (mine_T * weight_T).sum().backward()
    (theirs_T * weight_T).sum().backward()
    assert mine_T.dtype is torch.float32
    torch.testing.assert_close(mine_T, theirs_T, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.grad, expected.grad)


def test_the_gradient_is_exact() -> None:
    logits_TV = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    labels_T = torch.tensor([0, 6, 3, 3, 1])
    assert torch.autograd.gradcheck(lambda logits: log_probs_of(logits, labels_T), (logits_TV,))


def test_no_tokens_have_no_log_probabilities() -> None:
    assert log_probs_of(torch.empty(0, 19), torch.empty(0, dtype=torch.long)).shape == (0,)

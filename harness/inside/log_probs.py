"""Log-probabilities of given tokens from logits, a block of rows at a time and in float32; needs torch alone.

Without flash-attention verl takes them row by row in Python. Here a row leaves one number behind, from which its gradient is computed anew:
beside the logits and their gradient only a block of them is ever in memory.
"""

# ruff: noqa: N803, N806 (arrays carry their shapes: tokens x vocabulary)

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

# Logits that are widened at once: on a CPU as many as its cache holds, elsewhere enough for few kernels (256 MiB in float32).
BLOCK_CPU, BLOCK = 2**18, 2**26


def log_probs_of(logits_TV: torch.Tensor, labels_T: torch.Tensor) -> torch.Tensor:
    """log softmax of each row at its label: float32, or float64 where the logits are. Differentiable in the logits."""
    log_probs_T: torch.Tensor = _LogProbs.apply(logits_TV, labels_T)
    return log_probs_T


class _LogProbs(torch.autograd.Function):
    """x[label] - logsumexp(x), whose gradient is 1 at the label less the softmax."""

    @staticmethod
    def forward(ctx: Any, logits_TV: torch.Tensor, labels_T: torch.Tensor) -> torch.Tensor:
        sums_T = logits_TV.new_empty(len(logits_TV), dtype=_wide(logits_TV.dtype))
        for rows in _blocks(logits_TV):
            sums_T[rows] = logits_TV[rows].to(sums_T.dtype).logsumexp(-1)
        ctx.save_for_backward(logits_TV, labels_T, sums_T)
        return logits_TV.gather(-1, labels_T[:, None])[:, 0].to(sums_T.dtype) - sums_T

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits_TV, labels_T, sums_T = ctx.saved_tensors
        (gradient_T,) = gradients
        slope_TV = torch.empty_like(logits_TV)
        for rows in _blocks(logits_TV):
            share_RV = (logits_TV[rows].to(sums_T.dtype) - sums_T[rows, None]).exp_().neg_()
            share_RV.scatter_add_(-1, labels_T[rows, None], share_RV.new_ones(len(share_RV), 1))
            slope_TV[rows] = share_RV.mul_(gradient_T[rows, None]).to(slope_TV.dtype)
        return slope_TV, None


def _blocks(logits_TV: torch.Tensor) -> Iterator[slice]:
    block = BLOCK_CPU if logits_TV.device.type == "cpu" else BLOCK
    rows = max(1, block // logits_TV.shape[-1])
    return (slice(begin, begin + rows) for begin in range(0, len(logits_TV), rows))


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)

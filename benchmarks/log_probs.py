"""Log-probabilities of a batch's tokens, at once and in verl's loop over rows: python -m benchmarks.log_probs

verl 0.9.1 takes its loop (verl/utils/torch_functional.py logprobs_from_logits_v2) where there is no flash-attention; our engines do not.
Forward is what old and reference log-probabilities cost, with the backward pass it is an update's share. One row is one token.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from verl.utils.torch_functional import logprobs_from_logits_v2

from benchmarks.tables import heading, table
from harness.inside.log_probs import log_probs_of

Take = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
SHAPES = ((2048, 19), (2048, 32_000), (1024, 153_376))  # tokens, vocabulary: the tiny policy's, Llama 2's, openPangu's


def seconds(take: Take, logits: torch.Tensor, labels: torch.Tensor, *, backward: bool) -> float:
    logits = logits.clone().requires_grad_(backward)
    synchronize()
    began = time.perf_counter()
    with torch.set_grad_enabled(backward), torch.autocast(logits.device.type, torch.bfloat16, enabled=logits.dtype is torch.bfloat16):
        found = take(logits, labels)
        if backward:
            found.sum().backward()
    synchronize()
    return time.perf_counter() - began


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def row(shape: tuple[int, int], dtype: torch.dtype, device: str, repeat: int, *, backward: bool) -> Sequence[str]:
    """By turns, so that a busy moment hits both; the median of `repeat` after one that fills the caches."""
    logits = torch.randn(shape, device=device).to(dtype)
    labels = torch.randint(shape[1], shape[:1], device=device)
    took: dict[Take, list[float]] = {logprobs_from_logits_v2: [], log_probs_of: []}
    for turn in range(repeat + 1):
        for take, times in took.items():
            one = seconds(take, logits, labels, backward=backward)
            if turn:
                times.append(one)
    loop, ours = (statistics.median(times) for times in took.values())
    what = "forward and backward" if backward else "forward"
    name = str(dtype).removeprefix("torch.")
    return (f"{shape[0]:,}", f"{shape[1]:,}", name, what, f"{1000 * loop:.1f}", f"{1000 * ours:.1f}", f"{loop / ours:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="of torch, on a CPU")
    asked = parser.parse_args()
    heading()
    torch.set_num_threads(asked.threads)
    rows = [
        row(shape, dtype, asked.device, asked.repeat, backward=backward)
        for shape in SHAPES
        for dtype in (torch.float32, torch.bfloat16)
        for backward in (False, True)
    ]
    table(("tokens", "vocabulary", "logits", "pass", "verl's loop, ms", "at once, ms", "loop / at once"), rows)


if __name__ == "__main__":
    main()

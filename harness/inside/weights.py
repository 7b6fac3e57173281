"""A model's first weights, and a checksum that tells whether it has gone back to them; needs torch alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import torch

_SAMPLE = 2**22  # elements of a tensor that its checksum looks at: all of most, every second or third of an embedding


class FirstWeights:
    """A model's parameters and buffers as they were when it was built, on the host; of this rank's shard."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._kept = {name: tensor.to("cpu", copy=True) for name, tensor in _tensors(module)}
        self.checksum = checksum(self._kept.values())

    def restore(self, module: torch.nn.Module) -> int:
        """The checksum of what is there now."""
        for name, tensor in _tensors(module):
            tensor.copy_(self._kept[name])
        return checksum_of(module)


def checkpoint_bytes(module: torch.nn.Module) -> int:
    """What a checkpoint of it takes at least: all of it, and Adam's two moments of what is trained; of this rank's shards."""
    tensors = itertools.chain(module.parameters(), module.buffers())
    return sum(_local(tensor).numel() * tensor.element_size() * (3 if tensor.requires_grad else 1) for tensor in tensors)


def checksum_of(module: torch.nn.Module) -> int:
    """Of its parameters and buffers: of this rank's shards."""
    return checksum(tensor for _, tensor in _tensors(module))


@torch.no_grad()
def checksum(tensors: Iterable[torch.Tensor]) -> int:
    """Of their bits, exactly; depends on the order of the tensors and not on where they lie."""
    whole = 0
    for tensor in tensors:
        flat = tensor.contiguous().view(-1)
        if flat.numel() > _SAMPLE:
            flat = flat[:: flat.numel() // _SAMPLE].contiguous()
        bits = flat.view(torch.uint8).to(torch.int64) if flat.element_size() == 1 else flat.view(_BITS[flat.element_size()])
        whole = (whole * 1_000_003 + int(bits.sum(dtype=torch.int64))) % 2**61
    return whole


_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def _tensors(module: torch.nn.Module) -> Iterable[tuple[str, torch.Tensor]]:
    """Every parameter and buffer: this rank's shard of it."""
    for named in (module.named_parameters(), module.named_buffers()):
        for name, tensor in named:
            yield name, _local(tensor.detach())


def _local(tensor: torch.Tensor) -> torch.Tensor:
    shard: torch.Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return shard

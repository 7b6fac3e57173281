"""Weights go back to their first bits, and a checksum sees one that did not."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")


@pytest.fixture
def module():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(7, 5), torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 3, dtype=torch.bfloat16))
    model.register_buffer("steps", torch.zeros((), dtype=torch.int64))
    return model


def test_a_model_goes_back_bit_by_bit_with_its_buffers(module):
    from harness.inside.weights import FirstWeights

    first = FirstWeights(module)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            tensor.add_(1)
        assert first.restore(module) == first.checksum
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_a_checksum_sees_one_bit_and_the_order(module):
    from harness.inside.weights import checksum

    tensors = [tensor.detach().clone() for tensor in module.parameters()]
    whole = checksum(tensors)
    assert whole == checksum([tensor.clone() for tensor in tensors])
    assert whole != checksum(reversed(tensors))
    tensors[0].view(torch.int32)[3, 2] ^= 1
    assert whole != checksum(tensors)


def test_a_large_tensor_is_sampled_over_all_of_its_length():
    from harness.inside.weights import checksum

    large = torch.zeros(5 * 2**22, dtype=torch.bfloat16)
    whole = checksum([large])
    large[-5:] = 1
    assert whole != checksum([large])

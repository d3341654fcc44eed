"""Operations and bytes of calls whose numbers are known."""

import pytest
import torch
from torch import nn

from benchmarks import roofline
from benchmarks.roofline import count_flops, products, size_of
from stageinteractor.machine.matmul import Trial


def test_a_matrix_product_has_two_operations_for_each_term():
    left, right = torch.rand(3, 5), torch.rand(5, 7)
    assert count_flops(lambda: left @ right) == 2 * 3 * 5 * 7
    left.requires_grad_()
    # forward, and the gradient of the left one
    assert count_flops(lambda: (left @ right).sum().backward()) == 2 * (2 * 3 * 5 * 7)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_flops_of_grouped_convolution_gradients(groups):
    conv = nn.Conv2d(4, 4, 3, padding=1, groups=groups)
    x = torch.rand(2, 4, 6, 5, requires_grad=True)
    forward = count_flops(lambda: conv(x))
    assert forward == 2 * (2 * 4 * 6 * 5) * (4 // groups) * 9
    assert count_flops(lambda: conv(x).sum().backward()) == 3 * forward


def test_bytes_of_nested_tensors_count_shared_memory_once():
    x = torch.zeros(10, 4)
    assert size_of({"a": [x, x.view(4, 10)], "b": (torch.zeros(3, dtype=torch.int64), None)}) == 184
    assert size_of([x[:2], x[2:5]]) == 5 * 16
    assert size_of(x[:1].expand(100, 4)) <= x.untyped_storage().nbytes()
    assert size_of([torch.zeros(0), 3, "text"]) == 0


@pytest.mark.parametrize(("error", "switches"), [(1e-7, 1), (2e-3, 0)])
def test_libraries_that_round_set_no_bound(error, switches, monkeypatch):
    monkeypatch.setattr(roofline, "trial", lambda: Trial(error, speedup=7.0))
    left, right = torch.randn(8, 16), torch.randn(16, 4)
    ways = products(left, right)
    assert len(ways) == 1 + torch.backends.mkldnn.is_available() + switches
    for way in ways[:2]:
        torch.testing.assert_close(way(), left @ right)
    assert len(products(left.bfloat16(), right.bfloat16())) == 1

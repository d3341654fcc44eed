"""Operations and bytes of calls whose numbers are known."""

import pytest
import torch
from torch import nn

from benchmarks.roofline import Rates, count_flops, measure_rates, size_of


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


def test_the_floor_is_the_larger_of_both_times():
    rates = Rates(flops=100.0, bytes=10.0)
    assert rates.bound(200.0, 10.0) == 2.0
    assert rates.bound(200.0, 50.0) == 5.0


def test_bytes_of_nested_tensors_count_shared_memory_once():
    x = torch.zeros(10, 4)
    assert size_of({"a": [x, x.view(4, 10)], "b": (torch.zeros(3, dtype=torch.int64), None)}) == 184
    assert size_of([x[:2], x[2:5]]) == 5 * 16
    assert size_of(x[:1].expand(100, 4)) <= x.untyped_storage().nbytes()
    assert size_of([torch.zeros(0), 3, "text"]) == 0


def test_rates_are_those_of_a_machine(monkeypatch):
    from benchmarks import roofline

    monkeypatch.setitem(roofline.SIDE, "cpu", 64)
    monkeypatch.setitem(roofline.BUFFER, "cpu", 2**20)
    rates = measure_rates(torch.device("cpu"), torch.float32, repeats=2)
    assert 1e6 < rates.flops < 1e15 and 1e6 < rates.bytes < 1e13

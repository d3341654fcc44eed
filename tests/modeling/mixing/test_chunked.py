import pytest
import torch
from torch import Tensor

from stageinteractor.modeling.mixing import chunked
from stageinteractor.modeling.mixing.chunked import chunked_apply
from stageinteractor.modeling.mixing.ops import (
    mix_channels,
    mix_channels_blended,
    mix_points,
    mix_points_blended,
)

M, P, D, Q = 7, 6, 4, 5  # matrices, points, channels, points out


@pytest.fixture(autouse=True)
def blocks_of_three_planes(monkeypatch):
    monkeypatch.setattr(chunked, "CHUNK_ENTRIES", 3 * P * Q)


def noise(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


CASES = {
    "channels": (mix_channels, [(P, D), (D, D), (1, D)]),
    "points": (mix_points, [(P, D), (Q, P), (Q, 1)]),
    "blended channels": (mix_channels_blended, [(P, D), (1, D), (D, D), (D, D), (D, 1), (1, D)]),
    "blended points": (mix_points_blended, [(P, D), (2 * Q, 1), (Q, P), (Q, P), (Q, 1), (1, P)]),
}


@pytest.fixture(params=CASES)
def case(request):
    function, shapes = CASES[request.param]
    return function, [noise(M, *shape, seed=i) for i, shape in enumerate(shapes)]


def test_values_and_gradients_are_those_of_the_function(case):
    function, operands = case
    expected, actual = function(*operands), chunked_apply(function, *operands)
    torch.testing.assert_close(actual, expected, rtol=1e-13, atol=1e-13)
    above = torch.randn_like(expected)
    pairs = zip(
        torch.autograd.grad(actual, operands, above),
        torch.autograd.grad(expected, operands, above),
        strict=True,
    )
    for actual, expected in pairs:
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def test_gradient_is_the_numerical_one(case):
    function, operands = case
    assert torch.autograd.gradcheck(lambda *x: chunked_apply(function, *x), operands)


def test_the_function_sees_no_more_matrices_than_fit():
    seen = []

    def doubled(x: Tensor, other: Tensor) -> Tensor:
        seen.append((len(x), len(other)))
        return 2 * x

    operands = noise(M, 2, 2, seed=0), noise(M, P, Q, seed=1)
    assert torch.equal(chunked_apply(doubled, *operands), 2 * operands[0])
    assert seen == [(3, 3), (3, 3), (1, 1)]


def test_nothing_but_the_operands_is_kept(case):
    function, operands = case
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda x: x):
        chunked_apply(function, *operands)
    assert [x.data_ptr() for x in kept] == [x.data_ptr() for x in operands]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_values_gradients_and_types_are_equal(dtype, case):
    function, operands = case
    results = []
    for call in (function, lambda *x: chunked_apply(function, *x)):
        leaves = [x.detach().float().requires_grad_() for x in operands]
        with torch.autocast("cpu", dtype):
            result = call(*leaves)
        gradients = torch.autograd.grad(result.float().square().sum(), leaves)
        results.append([result, *gradients])
    for actual, expected in zip(*results[::-1], strict=True):
        assert actual.dtype == expected.dtype
        torch.testing.assert_close(actual, expected, rtol=2e-2, atol=2e-2)

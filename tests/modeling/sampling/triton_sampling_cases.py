"""What the Triton kernels give, against the plain sampling: on a GPU, or interpreted on the CPU.

`test_triton.py` runs this file in a process of its own, because TRITON_INTERPRET must be
in the environment before triton is imported.
"""

from typing import Any, NamedTuple

import pytest
import torch
import triton
from torch import Tensor

from stageinteractor.modeling.sampling.flattened import Level, flatten_maps
from stageinteractor.modeling.sampling.reference import sample_levels
from stageinteractor.modeling.sampling.triton import sample, sample_backward

INTERPRETED = triton.knobs.runtime.interpret
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
TOLERANCE = {torch.float64: dict(rtol=1e-12, atol=1e-12), torch.float32: dict(rtol=1e-5, atol=2e-5)}
on_gpu = pytest.mark.skipif(INTERPRETED, reason="needs a GPU")


class Case(NamedTuple):
    maps: list[Tensor]
    positions: Tensor
    weights: Tensor
    grad: Tensor
    strides: tuple[int, ...]


def make_case(
    images: int = 2,
    queries: int = 3,
    groups: int = 2,
    points: int = 5,
    width: int = 4,
    sizes: tuple[tuple[int, int], ...] = ((9, 13), (5, 7), (3, 4)),
    strides: tuple[int, ...] = (4, 7, 16),
    dtype: torch.dtype = torch.float64,
    features_dtype: torch.dtype | None = None,
) -> Case:
    """Random maps, and points in and about them."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    shape = images, queries, groups, points
    maps = [normal(images, groups * width, *size).to(features_dtype or dtype) for size in sizes]
    positions = torch.rand(*shape, 2, generator=generator, dtype=torch.float64)
    positions = positions * torch.tensor([66.0, 50.0]) - 7.0
    weights = normal(*shape, len(sizes)).softmax(-1)
    rest = (x.to(DEVICE, dtype) for x in (positions, weights, normal(*shape, width)))
    return Case([x.to(DEVICE) for x in maps], *rest, strides)


def flattened(maps: list[Tensor], strides: tuple[int, ...]) -> tuple[Tensor, tuple[Level, ...]]:
    features = flatten_maps(maps, maps[0].dtype)
    return features.rows.contiguous(), features.levels(strides)


class Sampled(NamedTuple):
    sampled: Tensor
    features_grad: Tensor
    positions_grad: Tensor
    weights_grad: Tensor


def run_kernels(case: Case) -> Sampled:
    features, levels = flattened(case.maps, case.strides)
    sampled = sample(features, case.positions, case.weights, levels)
    features_grad = torch.zeros_like(features, dtype=case.positions.dtype)
    inputs = features, case.positions, case.weights
    return Sampled(
        sampled, features_grad, *sample_backward(case.grad, *inputs, levels, features_grad)
    )


def run_reference(case: Case) -> Sampled:
    """The same by `sample_levels` and autograd in float64, rounded at the end."""
    dtype = case.positions.dtype
    maps = [x.double().requires_grad_() for x in case.maps]
    points = [x.double().requires_grad_() for x in (case.positions, case.weights)]
    sampled = sample_levels(maps, *points, case.strides)
    *map_grads, positions_grad, weights_grad = torch.autograd.grad(
        sampled, [*maps, *points], case.grad.double()
    )
    features_grad = flatten_maps(map_grads, torch.float64).rows
    return Sampled(*(x.to(dtype) for x in (sampled, features_grad, positions_grad, weights_grad)))


def assert_agree(case: Case) -> None:
    actual, reference = run_kernels(case), run_reference(case)
    for name, value, expected in zip(Sampled._fields, actual, reference, strict=True):
        tolerance = TOLERANCE[case.positions.dtype]
        torch.testing.assert_close(
            value, expected, **tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize(
    "changes",
    [
        dict(),
        dict(width=6),  # not a power of two
        dict(width=1),
        dict(groups=1, width=64),
        dict(groups=3, width=24, queries=2),
        dict(images=3, queries=17, groups=4, points=2),  # more than a program's points per image
        dict(images=1, queries=1, groups=1, points=1),
        dict(sizes=((1, 1), (2, 9)), strides=(32, 8)),
        dict(sizes=((8, 5),), strides=(6,)),
        dict(sizes=((10, 6), (5, 3), (3, 2), (2, 1), (1, 1)), strides=(5, 10, 20, 40, 80)),
    ],
    ids=str,
)
def test_values_and_gradients_are_those_of_the_plain_sampling(changes: dict[str, Any]):
    assert_agree(make_case(**changes))


@pytest.mark.parametrize("features_dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_features_of_any_precision_are_summed_in_float32(features_dtype: torch.dtype):
    case = make_case(width=16, dtype=torch.float32, features_dtype=features_dtype)
    assert run_kernels(case).sampled.dtype == torch.float32
    assert_agree(case)


def test_points_on_the_border_and_far_outside_agree():
    # a map of 13 x 9 cells of 4 pixels: the edges, just in and out of reach, far away
    across = torch.tensor([-1e30, -1e6, -2.1, -1.9, 0.0, 51.9, 52.0, 53.9, 54.1, 1e6, 1e30])
    down = torch.tensor([-1e30, -2.1, -1.9, 0.0, 17.3, 35.9, 36.0, 37.9, 38.1, 1e30])
    spots = torch.cartesian_prod(across, down).double().to(DEVICE)
    case = make_case(1, 1, 1, len(spots), sizes=((9, 13),), strides=(4,))
    case = case._replace(positions=spots.view_as(case.positions))
    assert_agree(case)
    sampled = run_kernels(case).sampled.flatten(0, 3)
    reached = (spots[:, 0] + 2 > 0) & (spots[:, 0] < 54) & (spots[:, 1] + 2 > 0)
    reached &= spots[:, 1] < 38
    assert torch.equal((sampled != 0).all(1), reached)
    assert torch.equal((sampled != 0).any(1), reached)


def test_infinitely_far_away_is_outside_and_nan_stays_nan():
    case = make_case(images=1, queries=1, groups=1, points=4)
    case.positions[0, 0, 0, :, 0] = torch.tensor([torch.inf, -torch.inf, torch.nan, 20.0])
    actual = run_kernels(case)
    assert not actual.sampled[0, 0, 0, :2].any()
    assert not actual.positions_grad[0, 0, 0, :2].any()
    assert actual.sampled[0, 0, 0, 2].isnan().all()
    assert not actual.sampled[0, 0, 0, 3].isnan().any()


@pytest.mark.parametrize("changes", [dict(queries=0), dict(images=0), dict(points=0)], ids=str)
def test_nothing_to_sample_gives_empty_results(changes: dict[str, int]):
    case = make_case(**changes)
    actual = run_kernels(case)
    assert actual.sampled.shape == case.grad.shape
    assert actual.positions_grad.shape == case.positions.shape
    assert actual.weights_grad.shape == case.weights.shape
    assert not actual.features_grad.any()


def test_the_gradient_is_added_to_what_the_buffer_holds():
    case = make_case()
    features, levels = flattened(case.maps, case.strides)
    before = torch.randn_like(features)
    buffer = before.clone()
    for _ in range(2):
        sample_backward(case.grad, features, case.positions, case.weights, levels, buffer)
    reference = before + 2 * run_reference(case).features_grad
    torch.testing.assert_close(buffer, reference, **TOLERANCE[torch.float64])


def test_strided_inputs_are_taken_as_they_read():
    case, reference = make_case(), run_kernels(make_case())
    points = torch.cat([case.positions, case.positions[..., :1]], -1)
    weights = case.weights.transpose(1, 2).contiguous().transpose(1, 2)
    strided = case._replace(positions=points[..., :2], weights=weights)
    assert torch.equal(run_kernels(strided).sampled, reference.sampled)
    ones = torch.ones_like(case.grad)
    expanded = case._replace(grad=ones[:1, :1, :1, :1, :1].expand_as(ones))
    for value, same in zip(
        run_kernels(expanded), run_kernels(case._replace(grad=ones)), strict=True
    ):
        torch.testing.assert_close(value, same, **TOLERANCE[torch.float64])


def test_a_buffer_that_would_lose_the_gradient_is_refused():
    case = make_case()
    features, levels = flattened(case.maps, case.strides)
    inputs = case.grad, features, case.positions, case.weights, levels
    with pytest.raises(ValueError, match="bfloat16"):
        sample_backward(*inputs, torch.zeros_like(features, dtype=torch.bfloat16))
    with pytest.raises(ValueError, match="contiguous"):
        sample_backward(*inputs, features.mT.contiguous().mT)


class Sampling(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features, positions, weights, levels):
        ctx.save_for_backward(features, positions, weights)
        ctx.levels = levels
        return sample(features, positions, weights, levels)

    @staticmethod
    def backward(ctx, grad):
        features_grad = torch.zeros_like(ctx.saved_tensors[0])
        points = sample_backward(grad, *ctx.saved_tensors, ctx.levels, features_grad)
        return features_grad, *points, None


def test_gradients_are_the_numerical_ones():
    case = make_case(1, 1, 1, 2, width=2, sizes=((2, 3), (1, 2)), strides=(4, 8))
    case.positions[:] = torch.tensor([[3.1, 2.7], [9.3, 5.2]])
    features, levels = flattened(case.maps, case.strides)
    inputs = [x.requires_grad_() for x in (features, case.positions, case.weights)]
    # the order of the additions differs on a GPU
    assert torch.autograd.gradcheck(
        lambda *args: Sampling.apply(*args, levels), inputs, nondet_tol=1e-12
    )


@on_gpu
def test_another_size_of_image_compiles_nothing_anew():
    from stageinteractor.modeling.sampling import triton_kernels

    kernels = [
        triton_kernels.sample_kernel,
        triton_kernels.points_backward_kernel,
        triton_kernels.features_backward_kernel,
    ]

    def compiled() -> int:
        return sum(
            len(cache[0]) for kernel in kernels for cache in kernel.fn.device_caches.values()
        )

    counts = []
    for sizes in (((9, 13), (5, 7)), ((16, 32), (8, 16)), ((1, 1), (1, 1)), ((3, 160), (2, 80))):
        for queries in (1, 3, 16):
            run_kernels(make_case(queries=queries, width=8, sizes=sizes, strides=(4, 8)))
            counts.append(compiled())
    assert counts[0] == counts[-1] > 0


@on_gpu
def test_features_beyond_two_to_the_31_elements_are_addressed():
    if torch.cuda.mem_get_info()[0] < 40 * 2**30:
        pytest.skip("needs 40 GiB of GPU memory")
    height, width, channels = 4097, 2048, 256  # 2^31 elements and a few an image
    features = torch.zeros(2, height * width, channels, dtype=torch.bfloat16, device=DEVICE)
    features[1, -1, -1] = 1.0
    positions = torch.tensor([width - 0.5, height - 0.5], device=DEVICE).expand(2, 1, 4, 1, 2)
    weights = torch.ones(2, 1, 4, 1, 1, device=DEVICE)
    levels = [Level(0, height, width, 1)]
    sampled = sample(features, positions, weights, levels)
    assert sampled[1, 0, 3, 0, -1] == 1.0
    assert sampled.sum() == 1.0
    features_grad = torch.zeros_like(features, dtype=torch.float32)
    sample_backward(torch.ones_like(sampled), features, positions, weights, levels, features_grad)
    assert torch.equal(features_grad[:, -1], torch.ones(2, channels, device=DEVICE))
    assert features_grad.sum() == 2 * channels

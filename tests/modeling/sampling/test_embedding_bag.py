import pytest
import torch
from torch import Tensor

from stageinteractor.modeling.sampling import embedding_bag
from stageinteractor.modeling.sampling.bilinear_corners import BilinearCorners
from stageinteractor.modeling.sampling.dispatch import (
    choose_backend,
    prepare_features,
    sample,
    sample_flattened,
)
from stageinteractor.modeling.sampling.flattened import FlattenedFeatures, Level, flatten_maps
from stageinteractor.modeling.sampling.reference import sample_levels

pytestmark = pytest.mark.filterwarnings("error:Sparse CSR")
STRIDES = 4, 8
SIZES = (5, 7), (3, 4)  # height, width: an image of 20 x 28 pixels, the second level padded
B, N, G, P, D = 2, 3, 2, 4, 6


@pytest.fixture(params=[True, False], ids=["sparse product", "in chunks"], autouse=True)
def ways_back(request, monkeypatch):
    """Both ways to the derivatives by position and weight, whatever is faster."""

    def passes_over_all(flat: Tensor, cells: Tensor, grad: Tensor) -> bool:
        return request.param and len(flat) >= cells.shape[1]

    monkeypatch.setattr(embedding_bag, "_passes_over_all", passes_over_all)


def build_maps(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(B, D, *size, dtype=dtype).requires_grad_() for size in SIZES]


def build_points(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Points in the image and around it, some of them far outside."""
    torch.manual_seed(1)
    positions = torch.rand(B, N, G, P, 2, dtype=dtype) * 50 - 12
    positions[0, 0, 0, 0] = torch.tensor([1e6, -1e6])
    positions[0, 1, 0, 0] = torch.tensor([-3.0e30, 2.5])
    weights = torch.rand(B, N, G, P, len(SIZES), dtype=dtype)
    return positions.requires_grad_(), weights.requires_grad_()


def test_a_table_of_other_levels_than_strides_is_refused():
    with pytest.raises(ValueError):
        flatten_maps(build_maps(), torch.float64).levels((4, 8, 16))


def test_corners_by_hand():
    levels = (Level(10, 2, 3, 4),)
    # x = 7: between cells 1 and 2, a quarter of the way; y = 0: half outside above row 0
    positions = torch.tensor([7.0, 0.0]).view(1, 1, 1, 1, 2)
    corners = BilinearCorners(positions, torch.full((1, 1, 1, 1, 1), 2.0), levels, 16)
    cells, shares = corners.by_point()
    assert shares.tolist() == [[0.0, 0.0, 2 * 0.5 * 0.75, 2 * 0.5 * 0.25]]
    assert cells.tolist() == [[11, 12, 11, 12]]
    position_grad, weight_grad = corners.backward(torch.tensor([[1.0, 2.0, 3.0, 5.0]]))
    # one pixel to the right moves a quarter of the weight, 2 * 0.5 * 0.25, from cell 1 to cell 2,
    # and one down moves a quarter of the level's weight from outside to row 0
    assert position_grad.flatten().tolist() == [
        0.25 * (5.0 - 3.0),
        0.25 * 2 * (0.75 * 3.0 + 0.25 * 5.0),
    ]
    assert weight_grad.item() == 0.5 * (0.75 * 3.0 + 0.25 * 5.0)


def test_values_and_gradients_are_those_of_the_plain_sampling():
    maps, points = build_maps(), build_points()
    actual, _ = sample_flattened(flatten_maps(maps, torch.float64), *points, STRIDES)
    expected = sample_levels(maps, *points, STRIDES)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    above = torch.randn_like(expected)
    pairs = zip(
        torch.autograd.grad(actual, [*maps, *points], above),
        torch.autograd.grad(expected, [*maps, *points], above),
        strict=True,
    )
    for actual, expected in pairs:
        torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-11)


def test_maps_with_channels_last_are_read_in_place_without_gradients():
    maps, (positions, weights) = build_maps(), build_points()
    expected = sample_levels(maps, positions, weights, STRIDES)
    maps = [feature.contiguous(memory_format=torch.channels_last) for feature in maps]
    assert prepare_features(maps, torch.float64) is not maps
    with torch.no_grad():
        assert isinstance(prepare_features(build_maps(), torch.float64), FlattenedFeatures)
        assert prepare_features(maps, torch.float32) is not maps  # to be converted
        features = prepare_features(maps, torch.float64)
        assert features is maps
        actual, features = sample(features, positions, weights, STRIDES)
    assert features is maps
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def test_gradient_is_the_numerical_one():
    maps, (positions, weights) = build_maps(), build_points()
    near = positions.detach().clamp(1.3, 17.7).requires_grad_()

    def run(first: Tensor, second: Tensor, positions: Tensor, weights: Tensor) -> Tensor:
        return sample_flattened(
            flatten_maps([first, second], torch.float64), positions, weights, STRIDES
        )[0]

    assert torch.autograd.gradcheck(run, (*maps, near, weights))


@pytest.mark.parametrize("points_at_once", [1, 5, 512])
def test_several_samplings_add_their_gradients_to_one_buffer(points_at_once, monkeypatch):
    monkeypatch.setattr(embedding_bag, "CHUNK_POINTS", points_at_once)
    maps, points = build_maps(), build_points()
    features, total = flatten_maps(maps, torch.float64), 0.0
    for stage in range(3):
        sampled, features = sample(features, *points, STRIDES)
        total = total + (stage + 1) * sampled.square().sum()
    plain = sample_levels(maps, *points, STRIDES)
    expected = torch.autograd.grad((6 * plain.square()).sum(), [*maps, *points])
    for _ in range(2):  # a second pass over the same graph finds no rest of the first
        actual = torch.autograd.grad(total, [*maps, *points], retain_graph=True)
        for one, other in zip(actual, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_non_finite_positions_read_nothing_outside_the_map():
    maps, (positions, weights) = build_maps(), build_points()
    broken = positions.detach().clone()
    broken[0, 0, 0] = torch.tensor([float("inf"), float("nan")])
    broken[1, 2, 1, 0, 1] = -float("inf")
    features = flatten_maps(maps, torch.float64)
    sampled, _ = sample_flattened(features, broken.requires_grad_(), weights, STRIDES)
    sampled.sum().backward()
    sound = torch.ones(B, N, G, P, dtype=torch.bool)
    sound[0, 0, 0], sound[1, 2, 1, 0] = False, False
    assert sampled[sound].isfinite().all()


def test_backend_of_cpus_of_other_devices_and_of_graphs():
    maps = [torch.empty(1, D, *size, device="meta") for size in SIZES]
    assert choose_backend(maps[0]) == "reference"
    assert prepare_features(maps, torch.float32) is maps
    assert choose_backend(torch.zeros(1)) == "embedding_bag"
    assert torch.compile(choose_backend, backend="eager")(torch.zeros(1)) == "reference"


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_of_the_maps_are_laid_out_and_rounded_as_the_maps_are(layout, dtype):
    maps = [x.detach().contiguous(memory_format=layout) for x in build_maps(dtype)]
    maps = [x.requires_grad_() for x in maps]
    rows, _, grad_path = flatten_maps(maps, dtype, torch.float64)
    above = torch.randn_like(rows, dtype=torch.float64)
    plain = torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1)
    assert torch.equal(rows, plain)
    actual = torch.autograd.grad(grad_path, maps, above)
    expected = torch.autograd.grad(plain, maps, above.to(dtype))
    for one, other, feature in zip(actual, expected, maps, strict=True):
        assert one.dtype == dtype
        assert torch.equal(one, other)
        assert one.stride()[1:] == feature.stride()[1:]


def test_features_and_samples_are_rounded_under_autocast():
    maps, (positions, weights) = build_maps(torch.float32), build_points(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        features = prepare_features(maps, positions.dtype)
        sampled, _ = sample_flattened(features, positions, weights, STRIDES)
    assert features.rows.dtype == sampled.dtype == torch.bfloat16
    expected = sample_levels(maps, positions, weights, STRIDES)
    torch.testing.assert_close(sampled.float(), expected, rtol=0.02, atol=0.03)
    above = torch.randn_like(expected)
    actual = torch.autograd.grad(sampled, [*maps, positions, weights], above.to(sampled.dtype))
    exact = torch.autograd.grad(expected, [*maps, positions, weights], above)
    for one, other in zip(actual, exact, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.02 * other.abs().max().item())


def test_the_gradient_of_rounded_features_is_added_in_float32():
    """A thousand ones: bfloat16 would stop at 256."""
    feature = torch.ones(1, 1, 1, 1, requires_grad=True)
    features = flatten_maps([feature], torch.bfloat16, torch.float32)
    positions, weights = torch.full((1, 1000, 1, 1, 2), 2.0), torch.ones(1, 1000, 1, 1, 1)
    first, features = sample_flattened(features, positions, weights, STRIDES[:1])
    second, _ = sample_flattened(features, positions, weights, STRIDES[:1])
    (first + second).sum().backward()
    assert feature.grad.item() == 2000


def test_all_rows_are_passed_over_where_that_is_faster(monkeypatch):
    monkeypatch.undo()
    cells, rounded = torch.zeros(10, 4), torch.bfloat16
    grad = torch.zeros(10, 2)
    for rows, dtype, expected in [
        (1000, grad.dtype, True),
        (3, grad.dtype, False),  # no place for four cells in a matrix of three columns
        (10, rounded, True),  # each is read four times
        (11, rounded, False),
    ]:
        flat = torch.zeros(rows, 2, dtype=dtype)
        assert embedding_bag._passes_over_all(flat, cells, grad) == expected

import pytest
import torch

from stageinteractor.assigner.boxes import (
    box_giou,
    box_iou,
    cxcywh_to_xyxy,
)


def random_boxes(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(*shape, 2, generator=generator, dtype=torch.float64) * 10
    size = torch.rand(*shape, 2, generator=generator, dtype=torch.float64) * 5 + 0.5
    return torch.cat([low, low + size], dim=-1)


def test_cxcywh_becomes_xyxy():
    # 10 -+ 4 / 2 = 8, 12 and 20 -+ 6 / 2 = 17, 23
    boxes = torch.tensor([[10.0, 20.0, 4.0, 6.0]])
    assert cxcywh_to_xyxy(boxes).tolist() == [[8.0, 17.0, 12.0, 23.0]]


def test_iou_of_aligned_pairs():
    first = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 4, 4]])
    second = torch.tensor([[2.0, 0, 6, 4], [0, 0, 4, 4], [4, 4, 6, 6]])
    # 2 * 4 / (16 + 16 - 8) = 1 / 3; the same box; only a common corner
    expected = torch.tensor([1 / 3, 1.0, 0.0])
    torch.testing.assert_close(box_iou(first, second), expected)


def test_giou_of_aligned_pairs():
    first = torch.tensor([[0.0, 0, 4, 4], [0, 0, 2, 2], [0, 0, 4, 4]])
    second = torch.tensor([[2.0, 2, 6, 6], [4, 0, 6, 2], [0, 0, 4, 4]])
    # 4 / 28 - (36 - 28) / 36 = 1 / 7 - 2 / 9; 0 - (12 - 8) / 12 = -1 / 3; the same box
    expected = torch.tensor([1 / 7 - 2 / 9, -1 / 3, 1.0])
    torch.testing.assert_close(box_giou(first, second), expected)


@pytest.mark.parametrize("overlap", [box_iou, box_giou])
def test_overlaps_do_not_change_with_the_unit(overlap):
    first, second = random_boxes(20, seed=5), random_boxes(20, seed=6)
    torch.testing.assert_close(overlap(first, second), overlap(100 * first, 100 * second))


@pytest.mark.parametrize("overlap", [box_iou, box_giou])
def test_empty_boxes_give_numbers(overlap):
    point = torch.tensor([3.0, 3, 3, 3])
    for other in (point, torch.tensor([0.0, 0, 4, 4]), torch.tensor([9.0, 9, 9, 12])):
        value = overlap(point, other)
        assert torch.isfinite(value)
        assert value <= 0


def test_eps_bounds_the_union():
    # side 1e-4: area 1e-8 < eps, so the box overlaps itself by 1e-8 / 1e-6 only
    tiny = torch.tensor([0.0, 0, 1e-4, 1e-4], dtype=torch.float64)
    torch.testing.assert_close(box_iou(tiny, tiny).item(), 1e-2)
    assert box_iou(tiny, tiny, eps=1e-12).item() == pytest.approx(1.0)


@pytest.mark.parametrize("overlap", [box_iou, box_giou])
def test_overlaps_have_the_numerical_gradient(overlap):
    first, second = random_boxes(6, seed=7), random_boxes(6, seed=8)
    assert torch.autograd.gradcheck(overlap, (first.requires_grad_(), second.requires_grad_()))


def test_shapes_that_do_not_broadcast_are_refused():
    with pytest.raises(RuntimeError, match="must match the size"):
        box_iou(random_boxes(2), random_boxes(3))

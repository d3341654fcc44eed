import pytest
import torch

from stageinteractor.modeling.box_coding import box_sizes, refine_boxes, xyxy_to_xyzr, xyzr_to_xyxy

# z = 3, r = 2: width 2^(3 - 1) = 4, height 2^(3 + 1) = 16
BOX = torch.tensor([10.0, 20.0, 3.0, 2.0])


def random_boxes(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, 4, generator=generator, dtype=torch.float64) * 2


def test_xyzr_becomes_xyxy():
    # 10 -+ 4 / 2 and 20 -+ 16 / 2
    assert xyzr_to_xyxy(BOX).tolist() == [8.0, 12.0, 12.0, 28.0]


def test_xyxy_becomes_xyzr():
    # centre (10, 20), z = log2 sqrt(4 * 16) = 3, r = log2(16 / 4) = 2
    assert xyxy_to_xyzr(torch.tensor([8.0, 12.0, 12.0, 28.0])).tolist() == BOX.tolist()


def test_refinement_moves_by_parts_of_the_box():
    # x: 10 + 0.5 * 4, y: 20 - 0.25 * 16, z: 3 + 1, r: 2 - 3
    actual = refine_boxes(BOX, torch.tensor([0.5, -0.25, 1.0, -3.0]))
    assert actual.tolist() == [12.0, 16.0, 4.0, -1.0]


@pytest.mark.parametrize("convert", [box_sizes, xyzr_to_xyxy])
def test_conversions_have_the_numerical_gradient(convert):
    assert torch.autograd.gradcheck(convert, random_boxes(3).requires_grad_())


def test_refinement_has_the_numerical_gradient():
    boxes, deltas = random_boxes(2, 2, 3).unbind()
    inputs = boxes.requires_grad_(), deltas.requires_grad_()
    assert torch.autograd.gradcheck(refine_boxes, inputs)


def test_deltas_of_another_shape_are_refused():
    with pytest.raises(RuntimeError, match="must match the size"):
        refine_boxes(random_boxes(3), random_boxes(2))

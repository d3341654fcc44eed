import pytest
import torch
from torch import Tensor

from stageinteractor.modeling.anchors.patch_features import (
    covered_cells,
    cut_quarters,
    flipped,
    push_back,
    resize_valid,
    rounded_cells,
    within,
)
from stageinteractor.modeling.anchors.patches import (
    FLIPS,
    crop_patches,
    flip_boxes,
    quarters,
    to_image,
    to_patch,
    whole_images,
)

SIZES = torch.tensor([[40.0, 80.0], [64.0, 32.0]])  # height and width
BOX = torch.tensor([0.2, 0.3, 0.1, 0.5])
FLIPPED = {
    (False, False): [0.2, 0.3, 0.1, 0.5],
    (True, False): [0.8, 0.3, 0.1, 0.5],
    (False, True): [0.2, 0.7, 0.1, 0.5],
    (True, True): [0.8, 0.7, 0.1, 0.5],
}


def released(boxes: Tensor, flips: Tensor) -> Tensor:
    """The formula of xyxy boxes, which the released code uses on cxcywh ones."""
    a, b, c, d = boxes.unbind(-1)
    a, c = torch.where(flips[..., 0], 1 - c, a), torch.where(flips[..., 0], 1 - a, c)
    b, d = torch.where(flips[..., 1], 1 - d, b), torch.where(flips[..., 1], 1 - b, d)
    return torch.stack([a, b, c, d], -1)


def check_flips(formula) -> None:
    for flip in FLIPS:
        actual = formula(BOX, torch.tensor(flip))
        torch.testing.assert_close(actual, torch.tensor(FLIPPED[flip]))


def test_flips_move_the_centre_and_keep_the_size():
    check_flips(flip_boxes)


def test_the_released_flips_fail():
    assert released(BOX, torch.tensor([True, False])).tolist() == pytest.approx(
        [0.9, 0.3, 0.8, 0.5]
    )
    assert released(BOX, torch.tensor([False, True])).tolist() == pytest.approx(
        [0.2, 0.5, 0.1, 0.7]
    )
    with pytest.raises(AssertionError):
        check_flips(released)


@pytest.mark.parametrize(("formula", "fits"), [(flip_boxes, True), (released, False)])
def test_a_flipped_box_still_lies_on_its_object(formula, fits: bool):
    features = torch.zeros(1, 1, 10, 10)
    features[..., 1:5, 2:4] = 1.0  # x 0.2 to 0.4, y 0.1 to 0.5
    box = torch.tensor([0.3, 0.3, 0.2, 0.4])
    on_object = []
    for item, flip in zip(flipped(features), FLIPS, strict=True):
        cx, cy, w, h = formula(box, torch.tensor(flip)).mul(10).round().int().tolist()
        expected = torch.zeros(10, 10)
        expected[max(cy - h // 2, 0) : cy + h // 2, max(cx - w // 2, 0) : cx + w // 2] = 1.0
        on_object.append(torch.equal(item[0], expected))
    assert on_object == [True] + [fits] * 3


def test_quarters_of_features_are_those_of_the_image():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    actual = cut_quarters(torch.cat([x, x + 100]))
    assert actual.shape == (8, 1, 2, 2)
    assert actual[1, 0].tolist() == [[2, 3], [6, 7]]  # top right
    assert actual[2, 0].tolist() == [[8, 9], [12, 13]]  # bottom left
    assert actual[4, 0, 0, 0] == 100
    patches = quarters(SIZES)
    assert patches.images.tolist() == [0] * 4 + [1] * 4
    assert patches.offsets[:4].tolist() == [[0, 0], [40, 0], [0, 20], [40, 20]]
    assert patches.extents[0].tolist() == [40, 20]
    assert patches.offsets[7].tolist() == patches.extents[7].tolist() == [16, 32]
    assert not patches.flips.any()


def test_whole_images_are_flipped_in_training_only():
    assert whole_images(SIZES, flips=False).extents.tolist() == [[80, 40], [32, 64]]
    patches = whole_images(SIZES, flips=True)
    assert patches.images.tolist() == [0] * 4 + [1] * 4
    assert patches.flips.tolist() == [list(flip) for flip in FLIPS] * 2
    assert not patches.offsets.any()
    assert patches.extents[3:5].tolist() == [[80, 40], [32, 64]]
    assert patches.extents.shape == patches.offsets.shape == (8, 2)


def test_anchors_in_a_patch_have_their_place_in_the_image():
    anchor = torch.tensor([[[0.5, 0.25, 0.1, 0.4]]])
    # the bottom right quarter of 80 x 40: 40 + 0.5 * 40, 20 + 0.25 * 20, 0.1 * 40, 0.4 * 20
    patches = quarters(SIZES[:1])
    actual = to_image(anchor.expand(4, 1, 4), patches)
    torch.testing.assert_close(actual[3, 0], torch.tensor([60.0, 25, 4, 8]))
    # 15 cells of 8 pixels, from column 2 and row 1 on
    crop = crop_patches(torch.tensor([0]), torch.tensor([[2, 1]]), size=15, stride=8)
    actual = to_image(anchor, crop)
    torch.testing.assert_close(actual[0, 0], torch.tensor([16.0 + 60, 8 + 30, 12, 48]))


def test_patch_and_image_are_inverse_for_every_flip():
    generator = torch.Generator().manual_seed(0)
    patches = whole_images(SIZES, flips=True)
    anchors = torch.rand(8, 3, 4, generator=generator)
    torch.testing.assert_close(to_patch(to_image(anchors, patches), patches), anchors)
    one = to_patch(torch.tensor([[[20.0, 10, 8, 4]]]).expand(8, 1, 4), patches)
    assert one[:4, 0, :2].tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]


def test_padding_is_neither_resized_nor_cut_out():
    features = torch.full((2, 1, 3, 4), 9.0)
    features[0, 0, :2, :3] = 1.0
    assert rounded_cells(torch.tensor([[70.0, 100.0], [96.0, 128.0]]), 32) == [(2, 3), (3, 4)]
    assert rounded_cells(torch.tensor([[10.0, 80.0]]), 32) == [(1, 3)]
    resized = resize_valid(features, [(2, 3), (3, 4)], 6)
    assert (resized[0] == 1).all() and (resized[1] == 9).all()
    cells = covered_cells(torch.tensor([[33.0, 65.0], [96.0, 128.0]]), 32)
    assert cells.tolist() == [[2, 3], [3, 4]]
    images, corners = torch.tensor([0, 1]), torch.tensor([[2, 0], [2, 2]])
    shown = within(corners, 2, cells[images])
    assert shown[0].tolist() == [[True, False], [True, False]]  # column 3 is padding
    assert shown[1].tolist() == [[True, True], [False, False]]  # the image has 3 rows


def test_crops_are_pushed_back_into_the_image():
    cells = torch.tensor([[6, 9], [3, 20]])
    corners = torch.tensor([[-2, 1], [7, 5], [18, 2]])
    actual = push_back(corners, torch.tensor([0, 0, 1]), 4, cells)
    # 9 columns: at most 5; 6 rows: at most 2; 3 rows are fewer than 4
    assert actual.tolist() == [[0, 1], [5, 2], [16, 0]]

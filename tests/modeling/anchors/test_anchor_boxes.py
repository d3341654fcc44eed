import torch

from stageinteractor.modeling.anchors.anchor_boxes import (
    Anchors,
    anchors_of,
    join,
    rank_in_image,
)
from stageinteractor.modeling.anchors.patches import crop_patches, quarters

SIZES = torch.tensor([[40.0, 80.0], [64.0, 32.0]])  # height and width


def some(scores: list[float], images: list[int]) -> Anchors:
    boxes = torch.arange(len(scores) * 4.0).view(-1, 4)
    return Anchors(boxes, torch.tensor(scores), torch.tensor(images))


def test_anchors_of_quarters_lie_in_their_quarters():
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.0, 1.0, 0.25, 0.5]]).expand(8, 2, 4)
    actual = anchors_of(torch.zeros(8, 2), boxes, quarters(SIZES), SIZES)
    assert actual.images.tolist() == [0] * 8 + [1] * 8
    # top right of 80 x 40: centre (60, 10) and size (20, 10); centre (40, 20) and size (10, 10)
    assert actual.boxes[2:4].tolist() == [[50, 5, 70, 15], [35, 15, 45, 25]]
    assert (actual.scores == 0.5).all()


def test_tiny_anchors_and_centres_outside_have_no_score():
    crop = crop_patches(torch.tensor([1]), torch.tensor([[2, 5]]), size=4, stride=8)
    # from (16, 40) on, 32 x 32 pixels, of an image that is 32 wide and 64 high
    boxes = torch.tensor(
        [
            [0.5, 0.75, 0.1, 0.1],  # centre (32, 64), 3.2 wide and high
            [0.51, 0.5, 0.1, 0.1],  # right of the image
            [0.5, 0.76, 0.1, 0.1],  # below it
            [0.4, 0.5, 0.09, 0.5],  # 2.88 wide
            [0.4, 0.5, 0.5, 0.09],  # 2.88 high
        ]
    )
    actual = anchors_of(torch.zeros(1, 5), boxes[None], crop, SIZES)
    assert actual.scores.tolist() == [0.5, 0, 0, 0, 0]
    torch.testing.assert_close(actual.boxes[3, 2] - actual.boxes[3, 0], torch.tensor(3.0))


def test_ranks_are_counted_in_every_image_by_itself():
    anchors = some([0.1, 0.9, 0.5, 0.5, 0.8], [1, 0, 1, 1, 0])
    assert rank_in_image(anchors).tolist() == [2, 0, 0, 1, 1]
    assert rank_in_image(some([], [])).tolist() == []


def test_anchors_are_picked_and_joined():
    first, second = some([0.1, 0.2], [0, 1]), some([0.3], [0])
    both = join([first, second])
    assert both.scores.tolist() == torch.tensor([0.1, 0.2, 0.3]).tolist()
    assert both.where(both.images == 0).boxes.tolist() == [[0, 1, 2, 3], [0, 1, 2, 3]]

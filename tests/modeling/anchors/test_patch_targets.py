import torch

from stageinteractor.assigner.targets import pad_targets
from stageinteractor.modeling.anchors.patch_targets import patch_targets
from stageinteractor.modeling.anchors.patches import crop_patches, quarters, whole_images

SIZES = torch.tensor([[40.0, 80.0], [64.0, 32.0]])  # height and width


def objects(*images: list[list[float]]):
    targets = [
        {"boxes": torch.tensor(boxes).view(-1, 4), "labels": torch.ones(len(boxes))}
        for boxes in images
    ]
    return pad_targets(targets, like=torch.zeros(0))


def test_every_object_is_a_target_of_one_quarter():
    # centres (20, 10), on the line between left and right, and exactly in the middle
    boxes = [[0.0, 0, 40, 20], [30, 0, 50, 10], [20, 10, 60, 30]]
    actual = patch_targets(quarters(SIZES), objects(boxes, []), fit=False)
    assert actual.counts == [1, 1, 0, 1, 0, 0, 0, 0]
    assert actual.boxes.shape == (8, 1, 4)
    assert actual.boxes[0, 0].tolist() == [0, 0, 1, 1]
    # the right quarter begins at 40 and is 40 x 20: the left half of the box is cut off
    assert actual.boxes[1, 0].tolist() == [0, 0, 0.25, 0.5]
    assert actual.boxes[3, 0].tolist() == [0, 0, 0.5, 0.5]
    assert not actual.labels.any()


def test_every_object_is_a_target_of_all_flips_of_its_image():
    boxes = [[8.0, 4, 16, 20], [0, 0, 80, 40]]
    actual = patch_targets(whole_images(SIZES, flips=True), objects(boxes, []), fit=False)
    assert actual.counts == [2] * 4 + [0] * 4
    # cxcywh (0.15, 0.3, 0.1, 0.4); flipped (0.85, 0.3), (0.15, 0.7), (0.85, 0.7)
    expected = torch.tensor(
        [[0.1, 0.1, 0.2, 0.5], [0.8, 0.1, 0.9, 0.5], [0.1, 0.5, 0.2, 0.9], [0.8, 0.5, 0.9, 0.9]]
    )
    torch.testing.assert_close(actual.boxes[:4, 0], expected)
    torch.testing.assert_close(actual.boxes[:4, 1], torch.tensor([0.0, 0, 1, 1]).expand(4, 4))


def test_a_crop_has_the_objects_whose_centre_it_holds():
    crop = crop_patches(torch.tensor([0]), torch.tensor([[1, 0]]), size=3, stride=8)
    # x from 8 to 32 and y from 0 to 24
    boxes = [
        [0.0, 0, 14, 8],  # centre 7
        [0, 0, 16, 8],  # centre 8, its left half is cut off
        [28, 0, 36, 8],  # centre 32: the next patch's
        [8, 0, 32, 24],
        [8, 0, 33, 24],  # wider than the patch
        [8, 0, 32, 25],  # higher than the patch
    ]
    actual = patch_targets(crop, objects(boxes, []), fit=True)
    assert actual.counts == [2]
    expected = torch.tensor([[0.0, 0, 1 / 3, 1 / 3], [0, 0, 1, 1]])
    torch.testing.assert_close(actual.boxes[0], expected)
    assert patch_targets(crop, objects(boxes, []), fit=False).counts == [4]

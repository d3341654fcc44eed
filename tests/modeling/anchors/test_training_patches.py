import torch

from stageinteractor.assigner.targets import pad_targets
from stageinteractor.modeling.anchors.probing import Crops
from stageinteractor.modeling.anchors.training_patches import crops_around_gt, filled

CELLS = torch.tensor([[40, 60], [40, 60]])  # 640 x 960 pixels at stride 16


def objects(*images: list[list[float]]):
    targets = [
        {"boxes": torch.tensor(boxes).view(-1, 4), "labels": torch.zeros(len(boxes))}
        for boxes in images
    ]
    return pad_targets(targets, like=torch.zeros(0))


def crops(images: list[int], first: int = 0) -> Crops:
    images = torch.tensor(images, dtype=torch.long)
    return Crops(images, torch.arange(first, first + len(images))[:, None].expand(-1, 2))


def test_an_object_stays_inside_of_its_random_patch():
    torch.manual_seed(0)
    box = [401.0, 300, 440, 350]
    corners = torch.cat(
        [crops_around_gt(objects([box]), 15, 16, CELLS).corners for _ in range(300)]
    )
    # columns 25.1 to 27.5 and rows 18.75 to 21.9: corners from 28 - 15 to 25 and 22 - 15 to 18
    assert corners.amin(dim=0).tolist() == [13, 7]
    assert corners.amax(dim=0).tolist() == [25, 18]
    assert len(corners.unique(dim=0)) > 90  # of 13 x 12


def test_near_objects_share_the_patch_of_the_middle_one():
    torch.manual_seed(0)
    # centres 110, 210 and 310: crops of 240, shifted by 100: IoU 140 / 340 = 0.41
    boxes = [[100.0, 300, 120, 320], [200, 300, 220, 320], [300, 300, 320, 320]]
    actual = crops_around_gt(objects(boxes, boxes[:1]), 15, 16, CELLS)
    assert sorted(actual.images.tolist()) == [0, 1]
    column = actual.corners[actual.images == 0][0, 0] * 16
    assert column <= 200 and column + 240 >= 220
    # the outer two are 200 apart: 40 / 440
    actual = crops_around_gt(objects([boxes[0], boxes[2]]), 15, 16, CELLS)
    assert actual.images.tolist() == [0, 0]


def test_every_image_is_filled_up_by_itself():
    # image 0 has three and is given one of two, image 1 five and none, image 2 none and all it has
    first = crops([0, 1, 0, 1, 1, 0, 1, 1])
    more = crops([2, 0, 1, 0, 2], first=100)
    actual = filled(first, more, 4, 3)
    assert actual.images.tolist() == [*first.images.tolist(), 2, 0, 2]
    assert actual.corners[8:, 0].tolist() == [100, 101, 104]
    assert filled(crops([]), crops([]), 4, 2).images.tolist() == []

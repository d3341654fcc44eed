import pytest
import torch

from stageinteractor.modeling.anchors.anchor_boxes import Anchors
from stageinteractor.modeling.anchors.probing import Probing


def around(centers: list[list[float]], scores: list[float], images=None, size=20.0) -> Anchors:
    """Anchors of one size around centres."""
    center = torch.tensor(centers).view(-1, 2)
    images = [0] * len(scores) if images is None else images
    boxes = torch.cat([center - size / 2, center + size / 2], dim=1)
    return Anchors(boxes, torch.tensor(scores), torch.tensor(images))


def sized(sizes: list[tuple[float, float]], score: float = 0.5) -> Anchors:
    boxes = torch.tensor([[0.0, 0, width, height] for width, height in sizes])
    return Anchors(boxes, torch.full((len(sizes),), score), torch.zeros(len(sizes)).long())


def test_anchors_are_chosen_between_two_scores():
    anchors = around([[50.0, 50]] * 5, [0.1, 0.11, 0.4, 0.69, 0.7])
    chosen = Probing().select(anchors, stride=16, num_images=1, min_replaced=3)
    assert chosen.tolist() == [False, True, True, True, False]


@pytest.mark.parametrize(("stride", "limit"), [(16, 120), (8, 60)])
def test_anchors_are_chosen_below_half_a_patch(stride: int, limit: int):
    anchors = sized([(limit - 1, limit - 1), (limit, 10), (10, limit)])
    chosen = Probing().select(anchors, stride=stride, num_images=1, min_replaced=1)
    assert chosen.tolist() == [True, False, False]


def test_patches_begin_half_a_patch_before_the_centre():
    anchors = around([[200.0, 300.0]], [0.5])
    cells = torch.tensor([[40, 50]])
    # 200 / 16 - 7.5 = 5, 300 / 16 - 7.5 = 11.25; 200 / 8 - 7.5 = 17.5, 300 / 8 - 7.5 = 30
    assert Probing().crops(anchors, 16, cells).corners.tolist() == [[5, 11]]
    assert Probing().crops(anchors, 8, cells).corners.tolist() == [[17, 25]]  # 40 - 15 rows
    corner = around([[4.0, 4.0]], [0.5])
    assert Probing().crops(corner, 16, cells).corners.tolist() == [[0, 0]]


def test_better_of_two_overlapping_crops_stays():
    # crops of 240: shifted by 144 the IoU is 96 / 384 = 1 / 4, by 143 a little more
    exact = around([[200.0, 200], [344, 200]], [0.4, 0.5])
    closer = around([[200.0, 200], [343, 200]], [0.4, 0.5])
    other_image = around([[200.0, 200], [343, 200]], [0.4, 0.5], images=[0, 1])
    cells = torch.tensor([[100, 100], [100, 100]])
    assert len(Probing().crops(exact, 16, cells).images) == 2
    actual = Probing().crops(closer, 16, cells)
    assert actual.corners.tolist() == [[13, 5]]  # floor(343 / 16 - 7.5), of the score 0.5
    actual = Probing().crops(other_image, 16, cells)
    assert sorted(actual.images.tolist()) == [0, 1]


def test_an_image_has_no_more_patches_than_allowed_and_the_best():
    centers = [[300.0 * i, 300.0] for i in range(1, 21)]
    anchors = around(centers * 2, [0.2 + 0.01 * i for i in range(20)] * 2, [0] * 20 + [1] * 20)
    actual = Probing().crops(anchors, 16, torch.tensor([[500, 500]] * 2))
    assert actual.images.bincount().tolist() == [15, 15]
    columns = actual.corners[actual.images == 0, 0].sort().values
    assert columns[0] == int(300 * 6 / 16 - 7.5)  # the five weakest are left out


def test_too_few_anchors_keep_the_best_replaced_ones_last():
    # image 0 keeps two of five, image 1 all of three
    anchors = around([[0.0, 0]] * 8, [0.9, 0.6, 0.05, 0.01, 0.5, 0.8, 0.7, 0.6], [0] * 5 + [1] * 3)
    kept = torch.tensor([True, False, False, False, True, True, True, True])
    replaced = torch.tensor([False, True] + [False] * 6)
    probing = Probing(min_anchors=3)
    actual = probing.at_least(anchors, kept, replaced, 2)
    assert actual.tolist() == [True, False, True, False, True, True, True, True]
    actual = Probing(min_anchors=5).at_least(anchors, kept, replaced, 2)
    assert actual.all()
    assert torch.equal(Probing(min_anchors=2).at_least(anchors, kept, replaced, 2), kept)


def test_an_image_with_too_many_has_the_best_ones():
    anchors = around([[0.0, 0]] * 5, [0.5, 0.9, 0.8, 0.2, 0.7], [0, 0, 0, 1, 0])
    actual = Probing(min_anchors=1, max_anchors=2).at_most(anchors)
    torch.testing.assert_close(actual.scores, torch.tensor([0.9, 0.8, 0.2]))


@pytest.mark.parametrize("wrong", [dict(low=0.8), dict(high=1.1), dict(min_anchors=0)])
def test_wrong_limits_are_refused(wrong: dict[str, float]):
    with pytest.raises(ValueError, match="must hold"):
        Probing(**wrong)

import torch

from stageinteractor.nms import grouped_nms


def test_the_weaker_of_two_that_overlap_is_dropped():
    # IoU of the first two: 8 x 10 / (2 x 100 - 80) = 2/3
    boxes = torch.tensor([[0.0, 0, 10, 10], [2, 0, 12, 10], [20, 0, 30, 10]])
    scores, groups = torch.tensor([0.5, 0.9, 0.1]), torch.zeros(3, dtype=torch.long)
    assert grouped_nms(boxes, scores, groups, 0.6).tolist() == [1, 2]
    assert grouped_nms(boxes, scores, groups, 0.7).tolist() == [1, 0, 2]


def test_groups_do_not_meet_left_of_and_above_the_image():
    # torchvision shifts the second group by the largest coordinate and 1: by 11, onto the first
    boxes = torch.tensor([[0.0, 0, 10, 10], [-11, -11, -1, -1]])
    scores, groups = torch.tensor([0.9, 0.8]), torch.tensor([0, 1])
    assert grouped_nms(boxes, scores, groups, 0.5).tolist() == [0, 1]


def test_no_boxes():
    none = torch.zeros(0, dtype=torch.long)
    assert grouped_nms(torch.zeros(0, 4), torch.zeros(0), none, 0.5).tolist() == []

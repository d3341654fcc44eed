import math

import pytest
import torch

from stageinteractor.assigner import HungarianMatcher
from stageinteractor.assigner.targets import pad_targets
from stageinteractor.criterion import (
    AreaWeight,
    AreaWeighted,
    AreaWeightedMatcher,
    ClassLoss,
    EqualWeight,
    MatchedPairs,
    Power,
    ScoreWeight,
    SoftTarget,
)
from stageinteractor.integrations.host_class_loss import HostClassLoss

SIZES = torch.tensor([[50.0, 100.0]])  # height 50, width 100
# sqrt(w h / 5000): 1, 1/2 and 1/10
BOXES = torch.tensor([[0.0, 0, 100, 50], [0, 0, 50, 25], [0, 0, 5, 10]])
TARGETS = [{"boxes": BOXES, "labels": torch.tensor([0, 0, 0])}]


def positives(sizes=SIZES) -> MatchedPairs:
    matches = torch.tensor([[[0, 1, 2, -1]]])
    boxes = torch.zeros(1, 1, 4, 4)
    return MatchedPairs(matches.unsqueeze(-1), boxes, matches, TARGETS, image_sizes=sizes)


def test_small_objects_count_four_times():
    sizes = positives().relative_size
    torch.testing.assert_close(sizes[0, 0, :, 0], torch.tensor([1.0, 0.5, 0.1, 0.0]))
    # 4 - 3 a, and for the whole-image patch 1 + 3 a
    torch.testing.assert_close(
        AreaWeight()(sizes)[0, 0, :3, 0], torch.tensor([1.0, 2.5, 3.7]), rtol=1e-6, atol=0
    )
    actual = AreaWeight(small=1.0, large=4.0)(sizes)[0, 0, :3, 0]
    torch.testing.assert_close(actual, torch.tensor([4.0, 2.5, 1.3]), rtol=1e-6, atol=0)


def test_of_two_objects_the_smaller_one_has_its_query():
    # query 0 is the best for both; the small object loses more by taking the other
    boxes = torch.tensor([[0.0, 0, 50, 50], [50, 0, 100, 50]]).view(1, 1, 2, 4)
    expected = torch.tensor([[0.0, 0, 80, 50], [10, 0, 50, 20]])
    targets = [{"boxes": expected, "labels": torch.tensor([0, 0])}]
    logits = torch.zeros(1, 1, 2, 1)
    costs = HungarianMatcher().costs(logits, boxes, pad_targets(targets, boxes), SIZES)[0, 0]
    weights = torch.tensor([4 - 3 * math.sqrt(0.8), 4 - 3 * math.sqrt(0.16)])
    straight, crossed = (
        (weights * torch.stack(pair)).sum()
        for pair in [(costs[0, 0], costs[1, 1]), (costs[1, 0], costs[0, 1])]
    )
    actual = AreaWeightedMatcher()(logits, boxes, targets, SIZES)
    assert actual.tolist() == ([[[0, 1]]] if straight < crossed else [[[1, 0]]])
    assert crossed < straight


def test_sizes_of_images_are_needed():
    with pytest.raises(ValueError, match="image_sizes"):
        AreaWeight()(positives(sizes=None).relative_size)


@pytest.mark.parametrize("wrong", [dict(small=-1.0), dict(large=math.inf), dict(small=math.nan)])
def test_wrong_weights_are_refused(wrong: dict[str, float]):
    with pytest.raises(ValueError, match="finite and not negative"):
        AreaWeight(**wrong)


def test_a_host_knows_the_sizes_of_its_objects():
    # a = 1/2: 2.5 times ln 2
    loss = ClassLoss(SoftTarget(Power(0.0)), AreaWeighted(EqualWeight()), ScoreWeight())
    box = torch.tensor([[0.5, 0.5, 0.5, 0.5]])
    zero = torch.zeros(1, dtype=torch.long)
    actual = HostClassLoss(loss, "loss_ce").of_pairs(
        {"pred_logits": torch.zeros(1, 1, 1), "pred_boxes": box[None]},
        [{"boxes": box, "labels": zero}],
        [(zero, zero)],
    )
    assert actual.item() == pytest.approx(2.5 * math.log(2.0))

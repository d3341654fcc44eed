"""Order and geometry of pairs of queries."""

import math

import pytest
import torch

from stageinteractor.assigner.boxes import box_iou
from stageinteractor.modeling.decoders.query_order import more_confident, pair_features


def random_boxes(images: int = 2, queries: int = 6) -> torch.Tensor:
    torch.manual_seed(0)
    corner = torch.rand(images, queries, 2, dtype=torch.float64) * 40
    return torch.cat([corner, corner + 2 + torch.rand_like(corner) * 20], dim=-1)


def test_order_is_that_of_the_highest_logit_of_any_class():
    logits = torch.tensor([[[0.0, 3.0], [2.0, 1.0], [-5.0, 4.0]]])
    # query 2 (4) precedes query 0 (3), which precedes query 1 (2)
    assert more_confident(logits)[0].int().tolist() == [[0, 0, 1], [1, 0, 1], [0, 0, 0]]


def test_equal_scores_are_ordered_by_index():
    before = more_confident(torch.zeros(1, 5, 3))[0]
    assert before.sum() == 5 * 4 / 2
    assert torch.equal(before, torch.ones(5, 5, dtype=torch.bool).tril(-1))


def test_order_is_strict_and_total_with_some_ties():
    torch.manual_seed(0)
    before = more_confident(torch.randint(3, (4, 9, 2)).float())
    assert torch.equal(before ^ before.mT, ~torch.eye(9, dtype=torch.bool).expand(4, -1, -1))


def test_pair_features_equal_a_loop():
    boxes = random_boxes()
    actual = pair_features(boxes)
    for b, i, j in [(b, i, j) for b in range(2) for i in range(6) for j in range(6)]:
        (x0, y0, x1, y1), (u0, v0, u1, v1) = boxes[b, i].tolist(), boxes[b, j].tolist()
        expected = [
            math.log(abs((x0 + x1) / 2 - (u0 + u1) / 2) / (x1 - x0) + 1),
            math.log(abs((y0 + y1) / 2 - (v0 + v1) / 2) / (y1 - y0) + 1),
            math.log((x1 - x0) / (u1 - u0)),
            math.log((y1 - y0) / (v1 - v0)),
            box_iou(boxes[b, i], boxes[b, j]).item(),
        ]
        assert actual[b, i, j].tolist() == pytest.approx(expected, abs=1e-12)


def test_pair_features_ignore_the_scale_of_x_and_of_y():
    boxes = random_boxes()
    scaled = boxes * torch.tensor([3.0, 0.7, 3.0, 0.7], dtype=torch.float64)
    torch.testing.assert_close(pair_features(scaled), pair_features(boxes))


def test_pair_features_of_boxes_without_area_are_finite():
    assert (
        pair_features(torch.tensor([[[1.0, 1, 1, 1], [5, 5, 4, 4], [0, 0, 9, 9]]])).isfinite().all()
    )


def test_pair_features_of_half_precision_are_float32():
    assert pair_features(random_boxes().bfloat16()).dtype == torch.float32

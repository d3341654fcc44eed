import math

import pytest
import torch
import torch.nn.functional as F

from stageinteractor.modeling import CascadeDecoder, ParallelDecoder, Queries
from stageinteractor.modeling.box_coding import xyxy_to_xyzr, xyzr_to_xyxy
from stageinteractor.modeling.decoders.sparse_rcnn import (
    DynamicConv,
    DynamicHead,
    refine_boxes_by_deltas,
)
from stageinteractor.modeling.decoders.stage import StageState

SIZES = dict(embed_dim=32, num_heads=4, feedforward_dim=48, num_classes=3, filter_dim=4, grid=2)


def build() -> DynamicHead:
    torch.manual_seed(0)
    return DynamicHead(**SIZES).double()


def test_deltas_are_those_of_r_cnn():
    box = torch.tensor([10.0, 20, 50, 40])  # 40 x 20 about (30, 30)
    deltas = torch.tensor([0.5, -1.0, math.log(2.0), math.log(0.5)])
    actual = xyzr_to_xyxy(refine_boxes_by_deltas(xyxy_to_xyzr(box), deltas))
    # centre (30 + 0.25 * 40, 30 - 0.5 * 20), size 80 x 10
    torch.testing.assert_close(actual, torch.tensor([0.0, 15, 80, 25]), rtol=0, atol=1e-4)


def test_a_box_grows_by_a_limited_factor():
    box = xyxy_to_xyzr(torch.tensor([0.0, 0, 16, 16]))
    actual = refine_boxes_by_deltas(box, torch.tensor([0.0, 0, 1e4, 0]))
    size = xyzr_to_xyxy(actual)[2] - xyzr_to_xyxy(actual)[0]
    assert size.item() == pytest.approx(100_000, rel=1e-4)


def test_filters_are_those_that_the_query_generates():
    torch.manual_seed(0)
    conv = DynamicConv(embed_dim=4, filter_dim=2, cells=3).double()
    features, content = torch.randn(1, 2, 3, 4).double(), torch.randn(1, 2, 4).double()
    actual = conv(features, content)
    for query in range(2):
        filters = conv.filters(content[0, query])
        first, second = filters[:8].view(4, 2), filters[8:].view(2, 4)
        x = F.layer_norm(features[0, query] @ first, (2,)).relu()
        x = F.layer_norm(x @ second, (4,)).relu().flatten()
        expected = F.layer_norm(conv.project(x), (4,)).relu()
        torch.testing.assert_close(actual[0, query], expected)


def test_published_number_of_parameters():
    actual = sum(x.numel() for x in DynamicConv().parameters())
    filters = 256 * 2 * 256 * 64 + 2 * 256 * 64
    assert actual == filters + 2 * 64 + 2 * 256 + 49 * 256 * 256 + 256 + 2 * 256


def test_padding_changes_nothing(make_maps, make_queries):
    head, maps = build(), make_maps(dtype=torch.float64)
    content, boxes = make_queries(dtype=torch.float64)
    query_mask = torch.tensor([[True, True, False, True, False], [True] * 5])
    actual, _ = head(StageState(maps, content, boxes, query_mask.unsqueeze(1)))
    one = [x[:1] for x in maps]
    alone, _ = head(StageState(one, content[:1, query_mask[0]], boxes[:1, query_mask[0]]))
    for padded, expected in zip(actual, alone, strict=True):
        torch.testing.assert_close(padded[:1, query_mask[0]], expected)


def test_queries_see_those_of_their_own_row(make_maps, make_queries):
    head, maps = build(), make_maps(dtype=torch.float64)
    content, boxes = make_queries(dtype=torch.float64)
    query_mask = torch.tensor([[True, True, False, True, False], [True] * 5])
    attn_mask = query_mask.unsqueeze(1).repeat(1, 5, 1)
    expected, _ = head(StageState(maps, content, boxes, query_mask.unsqueeze(1)))
    actual, _ = head(StageState(maps, content, boxes, attn_mask))
    torch.testing.assert_close(actual.content, expected.content)
    attn_mask[1, 2] = torch.tensor([True, False, True, False, False])
    actual, _ = head(StageState(maps, content, boxes, attn_mask))
    one, few = [x[1:] for x in maps], [0, 2]
    alone, _ = head(StageState(one, content[1:, few], boxes[1:, few]))
    torch.testing.assert_close(actual.content[1, 2], alone.content[0, 1])
    rest = [0, 1, 3, 4]
    torch.testing.assert_close(actual.content[1, rest], expected.content[1, rest])
    torch.testing.assert_close(actual.content[0], expected.content[0])


@pytest.mark.parametrize("parallel", [False, True])
def test_stages_in_order_and_side_by_side(make_maps, make_queries, parallel: bool):
    torch.manual_seed(0)
    stages = [DynamicHead(**SIZES) for _ in range(2)]
    decoder = ParallelDecoder(stages=stages, embed_dim=32) if parallel else CascadeDecoder(stages)
    decoder.train()
    maps, (content, boxes) = make_maps(), make_queries()
    actual = decoder([x.requires_grad_() for x in maps], Queries(content.requires_grad_(), boxes))
    assert actual.logits.shape == (2, 2, 5, 3)
    (actual.logits.square().sum() + actual.boxes.square().mean()).backward()
    assert all(p.grad is not None for p in decoder.parameters())
    assert maps[0].grad.any() and content.grad.any()


def test_gradient_is_the_numerical_one(make_maps, make_queries, randomise):
    head = randomise(build())
    maps = make_maps(images=1, dtype=torch.float64)
    content, boxes = make_queries(images=1, queries=2, dtype=torch.float64)
    content = content * 0.1

    def run(content: torch.Tensor) -> torch.Tensor:
        return head(StageState(maps, content, boxes))[0].logits

    assert torch.autograd.gradcheck(run, (content.requires_grad_(),))

import math

import pytest
import torch
from torch import nn

from stageinteractor.modeling.attention import (
    IoFBiasedSelfAttention,
    pairwise_iof,
    position_embedding,
)
from stageinteractor.modeling.box_coding import xyxy_to_xyzr, xyzr_to_xyxy


def build(width: int = 16, heads: int = 4) -> IoFBiasedSelfAttention:
    torch.manual_seed(0)
    return IoFBiasedSelfAttention(embed_dim=width, num_heads=heads).double()


def test_iof_is_the_covered_share_of_the_row_box():
    boxes = torch.tensor([[[0.0, 0, 4, 4], [2, 0, 4, 4], [8, 8, 9, 9]]])
    # box 1 is the right half of box 0: it covers 8 / 16 of it and is covered wholly
    assert pairwise_iof(boxes).tolist() == [[[1.0, 0.5, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]]


def test_a_box_without_area_is_covered_by_nothing():
    boxes = torch.tensor([[[2.0, 2, 2, 2], [0, 0, 4, 4]]])
    assert pairwise_iof(boxes).tolist() == [[[0.0, 0.0], [0.0, 1.0]]]


def test_position_embedding_alternates_sine_and_cosine():
    # D = 16: four numbers for each coordinate, two frequencies: 1 and 1 / 10000^(2/4) = 1 / 100
    actual = position_embedding(torch.tensor([1000.0, -2000.0, 3.0, 0.0]), 16)
    expected = []
    for value in (1.0, -2.0, 3.0, 0.0):
        for angle in (value, value / 100):
            expected += [math.sin(angle), math.cos(angle)]
    torch.testing.assert_close(actual, torch.tensor(expected))


def test_equals_multi_head_attention_of_torch(make_queries):
    attention = build()
    content, boxes = make_queries(width=16, dtype=torch.float64)
    reference = nn.MultiheadAttention(16, 4, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for layer in (attention.in_proj, attention.out_proj):
            layer.bias.normal_()
        reference.in_proj_weight.copy_(attention.in_proj.weight)
        reference.in_proj_bias.copy_(attention.in_proj.bias)
        reference.out_proj.load_state_dict(attention.out_proj.state_dict())
    bias = torch.zeros(2, 4, 5, 5, dtype=torch.float64)
    iof = pairwise_iof(xyzr_to_xyxy(boxes))
    for head in range(4):
        bias[:, head] = attention.tau[head] * torch.log(iof + 1e-7)
    x = content + position_embedding(boxes, 16)
    attended, _ = reference(x, x, x, attn_mask=bias.flatten(0, 1))
    torch.testing.assert_close(attention(content, boxes), x + attended)


def test_a_query_ignores_queries_that_it_does_not_overlap():
    attention = build()
    with torch.no_grad():
        attention.tau.fill_(4.0)  # weight of the other query: (1e-7)^4 against 1
    boxes = xyxy_to_xyzr(torch.tensor([[[0.0, 0, 8, 8], [20, 20, 40, 40]]]).double())
    content = torch.randn(1, 2, 16, dtype=torch.float64)
    changed = content.clone()
    changed[:, 1] += 1.0
    before, after = attention(content, boxes), attention(changed, boxes)
    torch.testing.assert_close(before[:, 0], after[:, 0])
    assert (before[:, 1] - after[:, 1]).abs().max() > 0.1


def test_overlap_counts_in_one_direction():
    attention = build()
    with torch.no_grad():
        attention.tau.fill_(4.0)
    # query 0 lies inside of query 1 and is a ten-thousandth of it
    boxes = xyxy_to_xyzr(torch.tensor([[[50.0, 50, 51, 51], [0, 0, 100, 100]]]).double())
    content = torch.randn(1, 2, 16, dtype=torch.float64)
    before = attention(content, boxes)
    small_changed = attention(content + torch.tensor([[[1.0], [0.0]]]), boxes)
    large_changed = attention(content + torch.tensor([[[0.0], [1.0]]]), boxes)
    torch.testing.assert_close(small_changed[:, 1], before[:, 1])
    assert (large_changed[:, 0] - before[:, 0]).abs().max() > 1e-3


def test_boxes_get_no_gradient_and_tau_does(make_queries):
    attention = build()
    content, boxes = make_queries(width=16, dtype=torch.float64)
    boxes.requires_grad_()
    attention(content.requires_grad_(), boxes).square().sum().backward()
    assert boxes.grad is None
    assert content.grad.abs().sum() > 0
    assert attention.tau.grad.abs().min() > 0


def test_gradient_is_the_numerical_one(make_queries):
    attention = build(width=8, heads=2)
    content, boxes = make_queries(images=1, queries=3, width=8, dtype=torch.float64)

    def attend(content: torch.Tensor, tau: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(attention, {"tau": tau}, (content, boxes))

    tau = attention.tau.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(attend, (content.requires_grad_(), tau))


@pytest.mark.parametrize(("width", "heads"), [(12, 4), (16, 3)])
def test_widths_that_do_not_divide_are_refused(width: int, heads: int):
    with pytest.raises(ValueError, match=f"{width} must be a multiple of 8 and of num_heads"):
        IoFBiasedSelfAttention(embed_dim=width, num_heads=heads)


def test_padding_is_not_attended_to(make_queries):
    attention = build()
    content, boxes = make_queries(width=16, dtype=torch.float64)
    attn_mask = torch.tensor([[[True] * 3 + [False] * 2], [[True] * 5]])
    actual = attention(content, boxes, attn_mask)
    alone = attention(content[:1, :3], boxes[:1, :3])
    torch.testing.assert_close(actual[:1, :3], alone)
    torch.testing.assert_close(actual[1], attention(content, boxes)[1])
    assert (actual[0, :3] - attention(content, boxes)[0, :3]).abs().max() > 1e-3


def test_every_query_attends_to_those_of_its_own_row(make_queries):
    attention = build()
    content, boxes = make_queries(width=16, dtype=torch.float64)
    seen = torch.ones(2, 5, 5, dtype=torch.bool)
    seen[0, 1] = torch.tensor([True, True, False, True, False])
    actual, plain = attention(content, boxes, seen), attention(content, boxes)
    alone = attention(content[:1, [0, 1, 3]], boxes[:1, [0, 1, 3]])
    torch.testing.assert_close(actual[0, 1], alone[0, 1])
    assert (actual[0, 1] - plain[0, 1]).abs().max() > 1e-3
    for image, query in [(0, 0), (0, 2), (0, 3), (0, 4), (1, 1)]:
        torch.testing.assert_close(actual[image, query], plain[image, query])


def test_a_query_that_may_see_nothing_stays_finite(make_queries):
    attention = build()
    content, boxes = make_queries(width=16, dtype=torch.float64)
    content.requires_grad_()
    seen = torch.ones(2, 5, 5, dtype=torch.bool)
    seen[0, 1] = False
    actual = attention(content, boxes, seen)
    actual.sum().backward()
    assert actual.isfinite().all() and content.grad.isfinite().all()
    torch.testing.assert_close(actual[0, 0], attention(content, boxes)[0, 0])


def test_content_of_another_width_is_refused(make_queries):
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        build()(*make_queries(width=24, dtype=torch.float64))

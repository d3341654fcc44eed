"""Losses of queries whose objects are known, worked out by hand, beside those of the others."""

import math

import pytest
import torch
from torch import Tensor

from stageinteractor.assigner import CrossStageAssigner, HungarianMatcher, PerStageAssigner
from stageinteractor.criterion import (
    AreaWeight,
    AreaWeighted,
    AreaWeightedMatcher,
    ClassLoss,
    EqualWeight,
    FocalLoss,
    Power,
    QueryBoxWeight,
    QueryWeight,
    QueryWeightTarget,
    RankDecay,
    ScoreWeight,
    SetCriterion,
    SoftTarget,
)

LN2 = math.log(2.0)
SIZES = torch.tensor([[50.0, 100.0]])  # height 50, width 100
KINDS = ("class", "bbox", "giou")


def build(assigner=None, class_loss=None, matcher=None, **changes) -> SetCriterion:
    return SetCriterion(
        matcher or HungarianMatcher(),
        assigner or CrossStageAssigner(),
        class_loss or FocalLoss(),
        **({"denoising_queries": 10} | changes),
    )


def weighted(**changes) -> SetCriterion:
    """As for ASAG."""
    area = AreaWeight()
    class_loss = ClassLoss(
        QueryWeightTarget(), AreaWeighted(QueryWeight(), area), ScoreWeight(1.0, 2.0)
    )
    arguments = dict(box_weight=AreaWeighted(QueryBoxWeight(), area), normalizer="matches")
    arguments |= dict(class_loss=class_loss, matcher=AreaWeightedMatcher())
    return build(PerStageAssigner(), **(arguments | changes))


def case(stages: int = 2, queries: int = 5, copies: int = 4):
    generator = torch.Generator().manual_seed(0)
    shape = stages, 2, queries + copies
    logits = torch.randn(*shape, 3, generator=generator).double()
    low = torch.rand(*shape, 2, generator=generator).double() * 30
    boxes = torch.cat([low, low + 20], dim=-1)
    targets = [
        {
            "boxes": torch.tensor([[0.0, 0, 30, 20], [20, 10, 50, 50]]).double(),
            "labels": torch.tensor([0, 2]),
        },
        {"boxes": torch.tensor([[5.0, 5, 25, 30]]).double(), "labels": torch.tensor([1])},
    ]
    known = torch.tensor([[0, 1, 0, 1], [0, -1, 0, -1]])[:, :copies]
    return logits, boxes, targets, SIZES.double().repeat(2, 1), known


def mask(known: Tensor, queries: int = 5) -> Tensor:
    return torch.cat([torch.ones(2, queries, dtype=torch.bool), known >= 0], dim=1)


def test_losses_of_two_copies_worked_out_by_hand():
    # one query that is matched exactly; a copy with half of the object, and one beside it
    boxes = torch.tensor([[0.0, 0, 100, 50], [0, 0, 50, 50], [60, 0, 100, 25]]).view(1, 1, 3, 4)
    targets = [{"boxes": torch.tensor([[0.0, 0, 100, 50]]), "labels": torch.tensor([1])}]
    known = torch.tensor([[0, 0]])
    losses = build()(torch.zeros(1, 1, 3, 2), boxes, targets, SIZES, None, known)
    assert list(losses) == [f"loss_{kind}_0" for kind in KINDS] + [
        f"loss_{kind}_dn_0" for kind in KINDS
    ]
    # a positive ln 2 / 16 and a negative 3 ln 2 / 16 each: 2 x 2 x ln 2 / 4 over 10 queries
    assert losses["loss_class_dn_0"].item() == pytest.approx(2 * 2 * LN2 / 4 / 10)
    # right edge off by 50 / 100; left by 60 / 100 and bottom by 25 / 50
    assert losses["loss_bbox_dn_0"].item() == pytest.approx(5 * (0.5 + 0.6 + 0.5) / 10)
    # GIoU = 2500 / 5000 and 1000 / 5000
    assert losses["loss_giou_dn_0"].item() == pytest.approx(2 * (0.5 + 0.8) / 10)
    assert losses["loss_bbox_0"].item() == losses["loss_giou_0"].item() == 0


@pytest.mark.parametrize("make", [build, weighted])
def test_losses_of_the_others_are_those_without_copies(make):
    logits, boxes, targets, sizes, known = case()
    logits[:, :, 5:] += 8.0  # copies that would be matched
    boxes[:, 0, 5:] = targets[0]["boxes"].repeat(2, 1)
    with_copies = [logits.clone().requires_grad_(), boxes.clone().requires_grad_()]
    alone = [x[:, :, :5].clone().requires_grad_() for x in (logits, boxes)]
    actual = make()(*with_copies, targets, sizes, mask(known), known)
    expected = make(denoising_queries=None)(*alone, targets, sizes)
    assert set(actual) - set(expected) == {f"loss_{k}_dn_{s}" for k in KINDS for s in range(2)}
    for name, loss in expected.items():
        assert torch.equal(actual[name], loss)
    sum(actual[name] for name in expected).backward()
    sum(expected.values()).backward()
    for inside, outside in zip(with_copies, alone, strict=True):
        torch.testing.assert_close(inside.grad[:, :, :5], outside.grad)
        assert not inside.grad[:, :, 5:].any()


@pytest.mark.parametrize("make", [build, weighted])
def test_losses_of_copies_reach_them_alone(make):
    logits, boxes, targets, sizes, known = case()
    logits.requires_grad_(), boxes.requires_grad_()
    losses = make()(logits, boxes, targets, sizes, mask(known), known)
    sum(loss for name, loss in losses.items() if "_dn_" in name).backward()
    for gradient in (logits.grad, boxes.grad):
        assert gradient[:, :, 5:][:, known >= 0].any(dim=-1).all()
        assert not gradient[:, :, 5:][:, known < 0].any()  # padding
        assert not gradient[:, :, :5].any()


def test_copies_of_an_object_are_not_ranked():
    # rank 1 would have a target of almost 0
    loss = ClassLoss(SoftTarget(Power(0.0), decay=RankDecay()), EqualWeight(), ScoreWeight())
    boxes = torch.tensor([0.0, 0, 100, 50]).expand(1, 1, 3, 4)
    targets = [{"boxes": boxes[0, 0, :1], "labels": torch.tensor([0])}]
    logits = torch.full((1, 1, 3, 1), 2.0)
    actual = build(class_loss=loss)(logits, boxes, targets, SIZES, None, torch.tensor([[0, 0]]))
    expected = 2 * 2 * math.log(1 + math.exp(-2.0)) / 10
    assert actual["loss_class_dn_0"].item() == pytest.approx(expected)


def test_dn_losses_are_divided_by_denoising_queries_and_images():
    logits, boxes, targets, sizes, known = case()
    both = build()(logits, boxes, targets, sizes, mask(known), known)
    alone = [
        build()(logits[:, i], boxes[:, i], targets[i], sizes[i], mask(known)[i], known[i])
        for i in (slice(0, 1), slice(1, 2))
    ]
    for name in both:
        if "_dn_" in name:
            torch.testing.assert_close(both[name], (alone[0][name] + alone[1][name]) / 2)
    twice = build(denoising_queries=20)(logits, boxes, targets, sizes, mask(known), known)
    for name in both:
        torch.testing.assert_close(twice[name], both[name] / (2 if "_dn_" in name else 1))


@pytest.mark.parametrize("make", [build, weighted])
def test_a_batch_without_objects_has_no_losses_of_copies(make):
    logits, boxes, _, sizes, _ = case()
    boxes.requires_grad_(), logits.requires_grad_()
    nothing = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long()}] * 2
    known = torch.full((2, 4), -1)
    losses = make()(logits, boxes, nothing, sizes, mask(known), known)
    assert all(loss == 0 for name, loss in losses.items() if "_dn_" in name)
    sum(losses.values()).backward()
    assert boxes.grad.isfinite().all() and logits.grad.isfinite().all()


def test_a_criterion_needs_a_number_to_divide_by():
    logits, boxes, targets, sizes, known = case()
    with pytest.raises(ValueError, match="denoising_queries"):
        build(denoising_queries=None)(logits, boxes, targets, sizes, None, known)


@pytest.mark.parametrize("shape", [(1, 4), (2, 10), (8,)])
def test_dn_gt_indices_of_another_shape_are_refused(shape: tuple[int, ...]):
    logits, boxes, targets, sizes, _ = case()
    known = torch.zeros(shape, dtype=torch.long)
    with pytest.raises(ValueError, match=r"dn_gt_indices"):
        build()(logits, boxes, targets, sizes, None, known)

import math

import pytest
import torch

from stageinteractor.assigner import (
    CrossStageAssigner,
    HungarianMatcher,
    PerStageAssigner,
    QualityTopKMatcher,
)
from stageinteractor.assigner.boxes import box_giou
from stageinteractor.criterion import (
    ClassLoss,
    DistanceWeight,
    FocalLoss,
    Power,
    ScoreWeight,
    SetCriterion,
    SoftTarget,
)

LN2 = math.log(2.0)
SIZES = torch.tensor([[50.0, 100.0]])  # height 50, width 100


def build(assigner=None, matcher=None, **weights: float) -> SetCriterion:
    matcher = matcher or HungarianMatcher()
    return SetCriterion(matcher, assigner or CrossStageAssigner(), FocalLoss(), **weights)


def random_boxes(generator: torch.Generator, *shape: int) -> torch.Tensor:
    low = torch.rand(*shape, 2, generator=generator, dtype=torch.float64) * 40
    size = torch.rand(*shape, 2, generator=generator, dtype=torch.float64) * 40 + 10
    return torch.cat([low, low + size], dim=-1)


def random_case(seed: int, stages: int, queries: int, counts: tuple[int, ...], classes: int = 3):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(stages, len(counts), queries, classes, generator=generator).double()
    targets = [
        {
            "boxes": random_boxes(generator, count),
            "labels": torch.randint(classes, (count,), generator=generator),
        }
        for count in counts
    ]
    boxes = random_boxes(generator, stages, len(counts), queries)
    sizes = torch.rand(len(counts), 2, generator=generator, dtype=torch.float64) * 50 + 50
    return logits, boxes, targets, sizes


def test_losses_of_one_object_worked_out_by_hand():
    logits = torch.zeros(1, 1, 2, 1)
    boxes = torch.tensor([[0.0, 0, 50, 50], [90, 40, 95, 45]]).view(1, 1, 2, 4)
    targets = [{"boxes": torch.tensor([[0.0, 0, 100, 50]]), "labels": torch.tensor([0])}]
    losses = build()(logits, boxes, targets, SIZES)
    assert list(losses) == ["loss_class_0", "loss_bbox_0", "loss_giou_0"]
    # query 0 is matched at IoU 2500 / 5000 = .5: ln 2 / 16; query 1 is negative: 3 ln 2 / 16
    assert losses["loss_class_0"].item() == pytest.approx(2 * LN2 / 4)
    # only the right edge is off, by 50 / 100
    assert losses["loss_bbox_0"].item() == pytest.approx(5 * 0.5)
    # GIoU = .5 - (5000 - 5000) / 5000
    assert losses["loss_giou_0"].item() == pytest.approx(2 * 0.5)


def losses_with_loops(logits, boxes, targets, sizes) -> dict[str, float]:
    matches = HungarianMatcher()(logits, boxes, targets, sizes)
    classes = CrossStageAssigner()(boxes, matches, targets, logits.shape[-1])
    losses = {}
    for stage in range(len(logits)):
        class_sum = l1_sum = giou_sum = num_matches = num_labels = 0.0
        for image, target in enumerate(targets):
            height, width = sizes[image]
            scale = torch.stack([width, height, width, height])
            for query, index in enumerate(matches[stage, image].tolist()):
                for logit, label in zip(
                    logits[stage, image, query].tolist(),
                    classes[stage, image, query].tolist(),
                    strict=True,
                ):
                    p = 1 / (1 + math.exp(-logit))
                    class_sum -= 0.25 * (1 - p) ** 2 * math.log(p) if label else 0
                    class_sum -= 0 if label else 0.75 * p**2 * math.log(1 - p)
                    num_labels += label
                if index >= 0:
                    box, expected = boxes[stage, image, query], target["boxes"][index]
                    l1_sum += ((box - expected).abs() / scale).sum().item()
                    giou_sum += 1 - box_giou(box, expected).item()
                    num_matches += 1
        losses[f"loss_class_{stage}"] = 2 * class_sum / max(num_labels, num_matches, 1)
        losses[f"loss_bbox_{stage}"] = 5 * l1_sum / max(num_matches, 1)
        losses[f"loss_giou_{stage}"] = 2 * giou_sum / max(num_matches, 1)
    return losses


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("stages", "queries", "counts"), [(1, 4, (2,)), (3, 6, (3, 0, 5)), (2, 3, (7, 1)), (2, 3, (0,))]
)
def test_losses_equal_plain_loops(stages: int, queries: int, counts: tuple[int, ...], seed: int):
    case = random_case(seed, stages, queries, counts)
    actual = build()(*case)
    expected = losses_with_loops(*case)
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert actual[name].item() == pytest.approx(value, rel=1e-9, abs=1e-12), name


def test_matcher_and_assigner_see_no_graph():
    logits, boxes, targets, sizes = random_case(0, 2, 5, (3, 2))
    seen = []

    def match(*arguments) -> torch.Tensor:
        seen.extend(arguments[:2])
        return HungarianMatcher()(*arguments)

    def assign(*arguments) -> torch.Tensor:
        seen.append(arguments[0])
        return CrossStageAssigner()(*arguments)

    build(assign, match)(logits.requires_grad_(), boxes.requires_grad_(), targets, sizes)
    assert len(seen) == 3
    assert not any(tensor.requires_grad for tensor in seen)


def test_weights_multiply_their_loss():
    case = random_case(0, 2, 5, (3, 2))
    plain = build(weight_class=1.0, weight_bbox=1.0, weight_giou=1.0)(*case)
    weighted = build(weight_class=3.0, weight_bbox=0.0, weight_giou=7.0)(*case)
    for stage in range(2):
        for name, weight in (("class", 3.0), ("bbox", 0.0), ("giou", 7.0)):
            key = f"loss_{name}_{stage}"
            torch.testing.assert_close(weighted[key], weight * plain[key])


def test_gradient_is_the_numerical_one():
    logits, boxes, targets, sizes = random_case(2, 2, 4, (3, 0))

    def total(logits: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        return torch.stack(list(build()(logits, boxes, targets, sizes).values()))

    assert torch.autograd.gradcheck(total, (logits.requires_grad_(), boxes.requires_grad_()))


@pytest.mark.parametrize("counts", [(0,), (0, 0)])
@pytest.mark.parametrize("stages", [1, 3])
def test_a_batch_without_objects_trains_the_classes_only(stages: int, counts: tuple[int, ...]):
    logits, boxes, targets, sizes = random_case(4, stages, 5, counts)
    losses = build()(logits.requires_grad_(), boxes.requires_grad_(), targets, sizes)
    assert len(losses) == 3 * stages
    for stage in range(stages):
        assert losses[f"loss_bbox_{stage}"].item() == 0
        assert losses[f"loss_giou_{stage}"].item() == 0
        assert 0 < losses[f"loss_class_{stage}"].item() < float("inf")
    sum(losses.values()).backward()
    assert torch.equal(boxes.grad, torch.zeros_like(boxes))
    assert (logits.grad > 0).all()  # every logit is pushed down


def test_double_precision_is_kept():
    losses = build()(*random_case(8, 1, 3, (2,)))
    assert {value.dtype for value in losses.values()} == {torch.float64}


def test_a_wrong_number_of_targets_is_refused():
    logits, boxes, targets, sizes = random_case(9, 1, 3, (2, 1))
    with pytest.raises(ValueError, match="expected 2 targets"):
        build()(logits, boxes, targets[:1], sizes)


def test_logits_and_boxes_that_do_not_fit_are_refused():
    logits, boxes, targets, sizes = random_case(9, 1, 3, (2, 1))
    with pytest.raises(ValueError, match=r"got \(1, 2, 2, 3\) and \(1, 2, 3, 4\)"):
        build()(logits[:, :, :2], boxes, targets, sizes)


def test_logits_that_are_not_numbers_are_reported():
    logits, boxes, targets, sizes = random_case(9, 2, 3, (2, 1))
    logits[1] = float("nan")
    with pytest.raises(FloatingPointError, match="stage 1, image 0"):
        build()(logits, boxes, targets, sizes)


def soft(iou: float) -> ClassLoss:
    return ClassLoss(SoftTarget(Power(iou)), DistanceWeight(0.25, 2.0), ScoreWeight(0.75, 2.0))


@pytest.mark.parametrize("class_loss", [FocalLoss(), soft(0.0)], ids=["focal", "slot"])
@pytest.mark.parametrize(("normalizer", "number"), [("max", 4), ("matches", 2), ("objects", 2)])
def test_class_loss_is_divided_by_what_the_normalizer_says(class_loss, normalizer, number):
    # the queries change places, so both learn both labels at both stages: 4 labels, 2 matches;
    # every entry is a positive of ln 2 / 16
    box = torch.tensor([0.0, 0, 50, 50])
    boxes = torch.stack([box, box + torch.tensor([0.0, 0, 50, 0])]).expand(2, 1, 2, 4)
    targets = [{"boxes": boxes[0, 0], "labels": torch.tensor([0, 1])}]
    matches = torch.tensor([[[0, 1]], [[1, 0]]])
    criterion = SetCriterion(
        lambda *_: matches, CrossStageAssigner(), class_loss, normalizer=normalizer
    )
    losses = criterion(torch.zeros(2, 1, 2, 2), boxes, targets, SIZES)
    for stage in range(2):
        assert losses[f"loss_class_{stage}"].item() == pytest.approx(2 * (4 * LN2 / 16) / number)
    assert losses["loss_bbox_1"].item() == pytest.approx(5 * 0.5)  # over the matches, either way


def test_objects_divide_all_losses_of_one_to_many_matches():
    # one box and an empty image; both queries of the first are matched to the box
    boxes = torch.tensor([[0.0, 0, 50, 50], [0, 0, 50, 100]]).expand(1, 2, 2, 4)
    targets = [
        {"boxes": boxes[0, 0, :1], "labels": torch.tensor([0])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)},
    ]
    matches = torch.tensor([[[0, 0], [-1, -1]]])
    sizes = SIZES.repeat(2, 1)
    by_objects, by_matches = (
        SetCriterion(lambda *_: matches, PerStageAssigner(), FocalLoss(), normalizer=name)(
            torch.zeros(1, 2, 2, 1), boxes, targets, sizes
        )
        for name in ("objects", "matches")
    )
    for name, value in by_objects.items():
        assert value.item() == pytest.approx(2 * by_matches[name].item()), name


@pytest.mark.parametrize("matches", [torch.full((2, 1, 3), -1), torch.full((2, 1, 0), -1)])
def test_objects_without_any_object_are_finite(matches):
    targets = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}]
    criterion = SetCriterion(
        QualityTopKMatcher(), PerStageAssigner(), FocalLoss(), normalizer="objects"
    )
    shape = matches.shape
    losses = criterion(torch.zeros(*shape, 2), torch.zeros(*shape, 4), targets, SIZES)
    assert all(value.isfinite() for value in losses.values())


def test_an_unknown_normalizer_is_refused():
    with pytest.raises(ValueError, match="labels"):
        SetCriterion(HungarianMatcher(), CrossStageAssigner(), FocalLoss(), normalizer="labels")

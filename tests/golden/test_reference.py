"""The reference implementations agree with every recording, so they may judge the package."""

from pathlib import Path

import numpy as np
import pytest
import torch
from reference import decoder as reference
from reference.losses import as_matches, deformable_class_targets

from benchmarks.reference_criterion import ReferenceCriterion
from benchmarks.reference_decoder import ReferenceDecoder
from stageinteractor.assigner import CrossStageAssigner, HungarianMatcher
from stageinteractor.criterion import FocalLoss, SetCriterion


@pytest.fixture
def float32_products():
    """The references multiply in float64, which is the same in both ways."""


def decode(recording, parameters):
    size = reference.Size(groups=4, points_per_group=4)
    per_image = []
    for image, (height, width) in enumerate(recording.meta["img_hw"]):
        maps = [feature[image] for feature in recording.features()]
        contents, boxes = reference.initial_queries(parameters, height, width)
        per_image.append(reference.decode(parameters, maps, contents, boxes, size))
    return [torch.stack(parts, 1) for parts in zip(*per_image, strict=True)]


def xyxy(boxes_xyzr):
    return torch.stack([reference.corners(box) for box in boxes_xyzr.reshape(-1, 4)]).view_as(
        boxes_xyzr
    )


def relative_error(actual, expected):
    return ((actual - expected).abs() / (1 + expected.abs())).max().item()


def reference_criterion():
    return ReferenceCriterion(SetCriterion(HungarianMatcher(), CrossStageAssigner(), FocalLoss()))


def by_stage(losses):
    """The losses of a criterion as (S, 3): class, L1, GIoU."""
    return torch.stack(list(losses.values())).view(-1, 3)


@pytest.mark.slow
def test_outputs_targets_losses_and_gradients(recording):
    parameters = {name: p.requires_grad_() for name, p in recording.parameters().items()}
    logits, boxes_xyzr, contents = decode(recording, parameters)
    for actual, kind in ((logits, "logits"), (boxes_xyzr, "xyzr"), (contents, "content")):
        assert relative_error(actual, recording.stacked(f"out_f64/{{}}/{kind}")) < 1e-6, kind
    boxes, targets, sizes = xyxy(boxes_xyzr), recording.targets(), recording.image_sizes()
    criterion = reference_criterion()
    pairs = criterion.match(logits.detach(), boxes.detach(), targets, sizes)
    matches = as_matches(pairs, logits.shape[:3])
    assert torch.equal(matches, recording.stacked("match/{}", torch.long))
    labels = torch.stack(criterion.class_targets(boxes, pairs, targets, logits.shape[-1]))
    assert torch.equal(labels.long(), recording.stacked("target/{}", torch.long))
    losses = by_stage(criterion(logits, boxes, targets, sizes))
    if not any(len(target["labels"]) for target in targets):
        assert losses.isfinite().all()  # the published code divides by zero here
        return
    for column, kind in enumerate(("cls", "bbox", "iou")):
        expected = recording.stacked(f"loss_f64/{{}}/{kind}")
        torch.testing.assert_close(losses[:, column], expected, rtol=1e-6, atol=0)
    losses.sum().backward()
    for key in recording.data:
        if key.startswith("grad/"):
            expected = recording.read(key)
            actual = parameters[key.removeprefix("grad/")].grad
            error = (actual - expected).abs().max()  # that of stage 0's tau is rounding, 1e-23
            assert error <= 1e-6 * expected.abs().max() + 1e-18, key


def test_the_decoder_of_the_benchmark(recording):
    queries = recording.queries()(recording.image_sizes())
    with torch.no_grad():
        output = ReferenceDecoder(recording.decoder())(recording.features(), queries)
    for actual, kind in ((output.logits, "logits"), (output.boxes, "boxes")):
        assert relative_error(actual, recording.stacked(f"out_f64/{{}}/{kind}")) < 1e-6, kind


def test_assigner_cases(assigner_case):
    logits, boxes, targets, sizes, matched, class_targets, expected = assigner_case
    criterion = reference_criterion()
    pairs = criterion.match(logits, boxes, targets, sizes)
    assert torch.equal(as_matches(pairs, logits.shape[:3]) >= 0, matched)
    labels = criterion.class_targets(boxes, pairs, targets, logits.shape[-1])
    assert torch.equal(torch.stack(labels), class_targets)
    losses = by_stage(criterion(logits, boxes, targets, sizes))
    torch.testing.assert_close(losses, expected, rtol=5e-6, atol=0)


DEFORMABLE = np.load(Path(__file__).parent / "data" / "csla_deformable.npz")


@pytest.mark.parametrize("case", sorted({key.split("/")[0] for key in DEFORMABLE.files}))
def test_the_published_rule_for_deformable_detr(case):
    boxes, objects = (
        torch.tensor(DEFORMABLE[f"{case}/{name}"]).double()
        for name in ("box_cxcywh", "targets_cxcywh")
    )
    labels = torch.tensor(DEFORMABLE[f"{case}/labels"])
    expected = torch.tensor(DEFORMABLE[f"{case}/T"])
    classes = expected.shape[-1]
    actual = deformable_class_targets(boxes, labels, objects, classes)
    assert torch.equal(actual.long(), expected.long())
    positives = int((labels[-1] < classes).sum())
    negatives = labels[-1].numel() - positives
    average = max(positives + 0.1 * negatives, float(actual.sum()), 1)
    assert average == pytest.approx(float(DEFORMABLE[f"{case}/avg"]))

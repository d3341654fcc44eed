"""The slow reference agrees with every recording, and so may judge the fast code elsewhere."""

from pathlib import Path

import numpy as np
import pytest
import torch
from reference import decoder as reference
from reference import losses as reference_losses


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


def relative_error(found, wanted):
    return ((found - wanted).abs() / (1 + wanted.abs())).max().item()


@pytest.mark.slow
def test_outputs_targets_losses_and_gradients(recording):
    parameters = {name: p.requires_grad_() for name, p in recording.parameters().items()}
    logits, boxes_xyzr, contents = decode(recording, parameters)
    for found, kind in ((logits, "logits"), (boxes_xyzr, "xyzr"), (contents, "content")):
        assert relative_error(found, recording.stacked(f"out_f64/{{}}/{kind}")) < 1e-6, kind
    boxes, targets, sizes = xyxy(boxes_xyzr), recording.targets(), recording.image_sizes()
    matches = reference_losses.match(logits, boxes, targets, sizes)
    assert torch.equal(matches, recording.stacked("match/{}", torch.long))
    labels = reference_losses.class_targets(boxes, matches, targets, logits.shape[-1])
    assert torch.equal(labels.long(), recording.stacked("target/{}", torch.long))
    losses = reference_losses.losses(logits, boxes, matches, labels, targets, sizes)
    if not any(len(target["labels"]) for target in targets):
        assert losses.isfinite().all()  # the published code divides by zero here
        return
    for column, kind in enumerate(("cls", "bbox", "iou")):
        wanted = recording.stacked(f"loss_f64/{{}}/{kind}")
        torch.testing.assert_close(losses[:, column], wanted, rtol=1e-6, atol=0)
    losses.sum().backward()
    for key in recording.data:
        if key.startswith("grad/"):
            wanted = recording.read(key)
            found = parameters[key.removeprefix("grad/")].grad
            error = (found - wanted).abs().max()  # that of stage 0's tau is rounding, about 1e-23
            assert error <= 1e-6 * wanted.abs().max() + 1e-18, key


@pytest.mark.slow
def test_assigner_cases(assigner_case):
    logits, boxes, targets, sizes, matched, class_targets, wanted = assigner_case
    matches = reference_losses.match(logits, boxes, targets, sizes)
    assert torch.equal(matches >= 0, matched)
    labels = reference_losses.class_targets(boxes, matches, targets, logits.shape[-1])
    assert torch.equal(labels, class_targets)
    losses = reference_losses.losses(logits, boxes, matches, labels, targets, sizes)
    torch.testing.assert_close(losses, wanted, rtol=5e-6, atol=0)


DEFORMABLE = np.load(Path(__file__).parent / "data" / "csla_deformable.npz")


@pytest.mark.parametrize("case", sorted({key.split("/")[0] for key in DEFORMABLE.files}))
def test_the_published_rule_for_deformable_detr(case):
    boxes, objects = (
        torch.tensor(DEFORMABLE[f"{case}/{name}"]).double()
        for name in ("box_cxcywh", "targets_cxcywh")
    )
    labels = torch.tensor(DEFORMABLE[f"{case}/labels"])
    wanted = torch.tensor(DEFORMABLE[f"{case}/T"])
    classes = wanted.shape[-1]
    found = reference_losses.deformable_class_targets(boxes, labels, objects, classes)
    assert torch.equal(found.long(), wanted.long())
    positives = int((labels[-1] < classes).sum())
    negatives = labels[-1].numel() - positives
    average = max(positives + 0.1 * negatives, float(found.sum()), 1)
    assert average == pytest.approx(float(DEFORMABLE[f"{case}/avg"]))

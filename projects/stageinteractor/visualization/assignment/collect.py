"""Collect what a model's matcher and assigner compute for annotated images, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ...assigner.boxes import cxcywh_to_xyxy
from .query_labels import ImageAssignment
from .recording import (
    is_stageinteractor,
    record_stageinteractor,
    record_third_party,
    rescored_by_third_party,
)


@torch.no_grad()
def collect_assignment(
    model: nn.Module, batched_inputs: Sequence[dict[str, Any]]
) -> list[ImageAssignment]:
    """Return the matches and assigned labels of every query of every image, stage by stage.

    Args:
        model: `StageInteractor`, `TransformersDetector`, or a model of detrex.
        batched_inputs: as in training: "image" (3, H, W) RGB in 0 to 255 and "instances".

    Raises:
        UnsupportedHostError: the model has no criterion of DETR form.
    """
    batch = list(batched_inputs)
    if is_stageinteractor(model):
        step = record_stageinteractor(model, batch)
        scores, boxes, assigned = step.logits.float().sigmoid(), step.boxes, step.assigned
        matches, assigner = step.matches, step.assigner
        rescored = step.rescored
    else:
        step = record_third_party(model, batch)
        scores, boxes = _scores(step), _boxes(step, model, batch)
        matches, assigned, assigner = step.matches, step.assigned_gt_indices(), step.assigner
        rescored = rescored_by_third_party(model, batch)
    scope = assigner.scope_mask(len(matches))
    items = [
        _item(item, boxes[:, b], scores[:, b], matches[:, b], assigned[:, b], scope)
        for b, item in enumerate(batch)
    ]
    if rescored is not None:
        rescored = rescored.float().sigmoid().cpu()
        items = [replace(item, rescored=rescored[b]) for b, item in enumerate(items)]
    return items


def _scores(step: Any) -> Tensor:
    """Return the class scores (S, B, N, C) of a third-party model's step."""
    from ...integrations.host_outputs import logits_of

    logits = torch.stack([logits_of(stage) for stage in step.stages]).float()
    # a softmax has one class more, for "no object"
    return logits.sigmoid() if step.multi_label else logits.softmax(dim=-1)[..., :-1]


def _boxes(step: Any, model: Any, batch: list[dict[str, Any]]) -> Tensor:
    """Return the boxes (S, B, N, 4) of a third-party model's step, xyxy pixels."""
    images = [item["image"] for item in batch]
    if hasattr(model, "box_scale"):
        scale = model.box_scale(images).cpu()  # (B, 4): w, h, w, h
    else:  # detrex normalises by the size of the image itself
        scale = torch.tensor([[*image.shape[:-3:-1]] * 2 for image in images])
    boxes = torch.stack([stage["pred_boxes"] for stage in step.stages]).float()
    return cxcywh_to_xyxy(boxes.cpu()) * scale[:, None]


def _item(
    item: dict[str, Any],
    boxes: Tensor,
    scores: Tensor,
    matches: Tensor,
    assigned: Tensor,
    scope: Tensor,
) -> ImageAssignment:
    instances = item["instances"]
    return ImageAssignment(
        name=str(item.get("file_name", item.get("image_id", "image"))).rsplit("/", 1)[-1],
        image=item["image"].permute(1, 2, 0).clamp(0, 255).byte().cpu().numpy(),
        gt_boxes=instances.gt_boxes.tensor.cpu(),
        gt_classes=instances.gt_classes.cpu(),
        boxes=boxes.float().cpu(),
        scores=scores.cpu(),
        matches=matches.cpu(),
        assigned=assigned.cpu(),
        scope=scope,
    )

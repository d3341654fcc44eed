"""What a model's matcher and assigner did with annotated images, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...assigner.boxes import cxcywh_to_xyxy
from .query_labels import ImageAssignment
from .recording import (
    assigned_of_queries,
    is_stageinteractor,
    record_stageinteractor,
    record_third_party,
)


@torch.no_grad()
def collect_assignment(
    model: nn.Module, batched_inputs: Sequence[dict[str, Any]]
) -> list[ImageAssignment]:
    """Return what every query of every image was matched to and learnt, stage by stage.

    Args:
        model: `StageInteractor`, `TransformersDetector`, or a model of detrex.
        batched_inputs: as in training: "image" (3, H, W) RGB in 0 to 255 and "instances".

    Raises:
        UnsupportedHostError: the model has no criterion of DETR form.
    """
    batch = list(batched_inputs)
    if is_stageinteractor(model):
        return _from_ours(model, batch)
    return _from_host(record_third_party(model, batch), batch, _box_scale(model, batch))


def _from_ours(model: Any, batch: list[dict[str, Any]]) -> list[ImageAssignment]:
    seen = record_stageinteractor(model, batch)
    scores = seen.logits.float().sigmoid()
    scope = model.criterion.assigner.scope_mask(len(seen.matches))
    return [
        _item(item, seen.boxes[:, b], scores[:, b], seen.matches[:, b], seen.learnt[:, b], scope)
        for b, item in enumerate(batch)
    ]


def _box_scale(model: Any, batch: list[dict[str, Any]]) -> Tensor:
    """Return (B, 4), the w, h, w, h that a host's boxes are normalised by."""
    images = [item["image"] for item in batch]
    if hasattr(model, "box_scale"):
        return model.box_scale(images).cpu()
    return torch.tensor([[*image.shape[:-3:-1]] * 2 for image in images])  # detrex: the image's own


def _from_host(step: Any, batch: list[dict[str, Any]], scale: Tensor) -> list[ImageAssignment]:
    from ...integrations.host_outputs import logits_of

    logits = torch.stack([logits_of(stage) for stage in step.stages]).float()
    # a softmax has one class more, for no object
    scores = logits.sigmoid() if step.multi_label else logits.softmax(dim=-1)[..., :-1]
    boxes = torch.stack([stage["pred_boxes"] for stage in step.stages]).float()
    learnt = assigned_of_queries(step)
    xyxy = cxcywh_to_xyxy(boxes.cpu()) * scale[:, None]
    scope = step.assigner.scope_mask(len(learnt))
    return [
        _item(item, xyxy[:, b], scores[:, b], step.matches[:, b], learnt[:, b], scope)
        for b, item in enumerate(batch)
    ]


def _item(
    item: dict[str, Any],
    boxes: Tensor,
    scores: Tensor,
    matches: Tensor,
    learnt: Tensor,
    scope: Tensor,
) -> ImageAssignment:
    instances = item["instances"]
    picture = item["image"].permute(1, 2, 0).clamp(0, 255).byte().cpu().numpy()
    return ImageAssignment(
        name=str(item.get("file_name", item.get("image_id", "image"))).rsplit("/", 1)[-1],
        picture=picture,
        gt_boxes=instances.gt_boxes.tensor.cpu(),
        gt_classes=instances.gt_classes.cpu(),
        boxes=boxes.float().cpu(),
        scores=scores.cpu(),
        matches=matches.cpu(),
        learnt=learnt.cpu(),
        scope=scope,
    )

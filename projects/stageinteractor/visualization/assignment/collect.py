"""Run a model on annotated images and keep what its matcher and assigner did.

Works for our detector, and for other people's whose criterion is (or is given) a
`CrossStageCriterion`. Nothing is learnt: dropout is off and no gradient is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...assigner.boxes import cxcywh_to_xyxy
from ...errors import UnsupportedHostError
from .marks import ImageAssignment


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
    model.eval()
    if hasattr(model, "decode"):
        return _from_ours(model, batch)
    criterion = _host_criterion(model)
    steps: list[Any] = []
    criterion.observer = steps.append
    try:
        model.training = True  # of the outermost module alone: that is what asks for losses
        model(batch)
    finally:
        model.training = False
        criterion.observer = None
    return _from_host(steps[0], batch, _box_scale(model, batch))


def _from_ours(model: Any, batch: list[dict[str, Any]]) -> list[ImageAssignment]:
    images = [model.normalize(item["image"]) for item in batch]
    output, sizes = model.decode(model.pad(images), images)
    targets = [model.target(item["instances"]) for item in batch]
    criterion = model.criterion
    matches = criterion.matcher(output.logits, output.boxes, targets, sizes)
    learnt = criterion.assigner.ranked_objects(output.boxes, matches, targets)
    scores = output.logits.float().sigmoid()
    scope = criterion.assigner.scope_mask(len(matches))
    return [
        _item(each, output.boxes[:, b], scores[:, b], matches[:, b], learnt[:, b], scope)
        for b, each in enumerate(batch)
    ]


def _host_criterion(model: Any) -> Any:
    """Return the wrapped criterion of a host, wrapping it if it is not."""
    from ...integrations import CrossStageCriterion

    if hasattr(model, "criterion"):
        if not isinstance(model.criterion, CrossStageCriterion):
            model.criterion = CrossStageCriterion(model.criterion)
        return model.criterion
    if hasattr(model, "model") and hasattr(model.model, "loss_function"):
        from ...integrations.transformers import CrossStageLoss, use_cross_stage

        if not isinstance(model.model.loss_function, CrossStageLoss):
            use_cross_stage(model.model)
        return model.model.loss_function
    raise UnsupportedHostError(
        f"{type(model).__name__} has neither a criterion nor a loss_function to look at"
    )


def _box_scale(model: Any, batch: list[dict[str, Any]]) -> Tensor:
    """Return (B, 4), the w, h, w, h that a host's boxes are normalised by."""
    images = [item["image"] for item in batch]
    if hasattr(model, "box_scale"):
        return model.box_scale(images).cpu()
    return torch.tensor([[*image.shape[:-3:-1]] * 2 for image in images])  # detrex: the image's own


def _from_host(step: Any, batch: list[dict[str, Any]], scale: Tensor) -> list[ImageAssignment]:
    from ...integrations.outputs import logits_of

    logits = torch.stack([logits_of(stage) for stage in step.stages]).float()
    # a softmax has one class more, for no object
    scores = logits.sigmoid() if step.multi_label else logits.softmax(dim=-1)[..., :-1]
    boxes = torch.stack([stage["pred_boxes"] for stage in step.stages]).float()
    learnt = step.matches.new_full((*step.matches.shape, step.ranked.shape[-1]), -1)
    index = step.queries.expand(len(learnt), -1, -1).unsqueeze(-1).expand_as(step.ranked)
    learnt.scatter_(2, index, step.ranked)
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
        object_boxes=instances.gt_boxes.tensor.cpu(),
        object_labels=instances.gt_classes.cpu(),
        boxes=boxes.float().cpu(),
        scores=scores.cpu(),
        matches=matches.cpu(),
        learnt=learnt.cpu(),
        scope=scope,
    )

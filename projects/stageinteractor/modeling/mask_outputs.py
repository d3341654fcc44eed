"""Instance masks on both sides of a model: padded for its loss, chosen and resized behind it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from detectron2.structures import Boxes, Instances
from torch import Tensor

from ..assigner.targets import Target
from ..errors import ConfigError, DataError
from .postprocessing import Postprocessing, TopK


def padded_masks(target: Target, size: tuple[int, int]) -> Tensor:
    """Return the masks (T, H', W') of an image's ground truth, float, padded to (H', W').

    Raises:
        DataError: it has none.
    """
    if "masks" not in target:
        raise DataError("the model is trained on masks, which are not read: set dataset.masks=true")
    height, width = target["masks"].shape[-2:]
    return F.pad(target["masks"].float(), (0, size[1] - width, 0, size[0] - height))


def detections_with_masks(
    postprocessing: Postprocessing,
    logits: Tensor,
    boxes: Tensor,
    masks: Tensor,
    *,
    sizes: Sequence[tuple[int, int]],
    padded_size: tuple[int, int],
) -> list[Instances]:
    """Return the detections of every image, with ``pred_masks`` (K, H, W): logits.

    Args:
        logits: (B, N, C) of the classes.
        boxes: (B, N, 4), xyxy pixels.
        masks: (B, N, h, w), logits on the padded image.
        sizes: B times (H, W) of the image, without padding.
        padded_size: (H', W').

    Raises:
        ConfigError: the postprocessing is no `TopK`, which says where a detection comes from.
    """
    if not isinstance(postprocessing, TopK):
        raise ConfigError("model.postprocessing of a model with masks must be TopK or TopKNms")
    results = []
    for image, chosen in enumerate(postprocessing.select(logits, boxes)):
        height, width = sizes[image]
        whole = resize(masks[image][chosen.queries], padded_size)
        results.append(
            Instances(
                (height, width),
                pred_boxes=Boxes(chosen.boxes),
                scores=chosen.scores,
                pred_classes=chosen.labels,
                pred_masks=whole[:, :height, :width],
            )
        )
    return results


def rescale_masks(instances: Instances, height: int, width: int) -> Instances:
    """Replace mask logits by masks (K, height, width), bool, in place."""
    if instances.has("pred_masks"):
        instances.pred_masks = resize(instances.pred_masks, (height, width)) > 0
    return instances


def resize(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Return logits (K, h, w), bilinearly resized to (height, width)."""
    if masks.shape[0] == 0:
        return torch.zeros(0, *size, device=masks.device)
    return F.interpolate(masks[None].float(), size, mode="bilinear", align_corners=False)[0]

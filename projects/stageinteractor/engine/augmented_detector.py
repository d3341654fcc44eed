"""Test-time augmentation: detections of an image at several scales, each also mirrored, merged.

The views are those of detectron2's `DatasetMapperTTA`. Its `GeneralizedRCNNWithTTA` needs an R-CNN,
this class any model of detectron2's interface. The union of all detections goes through NMS within
classes, and every remaining box becomes the mean, weighted by scores, of itself and those that it
replaces (box voting; Gidaris and Komodakis, ICCV 2015).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.modeling.test_time_augmentation import DatasetMapperTTA
from detectron2.structures import Boxes, Instances
from omegaconf import DictConfig
from torch import Tensor, nn
from torchvision.ops import box_iou

from ..data.resize_rule import ResizeRule, resize_rule
from ..errors import ConfigError
from ..evaluation.coco import to_host
from ..nms import grouped_nms

IOU = 0.7  # of two detections of one object
NO_LIMIT = 2**16  # pixels


class AugmentedDetector(nn.Module):
    """Detects objects in several views of every image.

    Args:
        model: of detectron2's interface, which predicts boxes only.
        scales: of the resizing; every view is also mirrored.
        resize: of the evaluation; None: scales are relative to the image.

    Raises:
        ConfigError: no scale, or one that is not positive.
    """

    def __init__(
        self, model: nn.Module, scales: Sequence[float], resize: ResizeRule | None = None
    ) -> None:
        super().__init__()
        if not scales or not all(0 < scale < math.inf for scale in scales):
            raise ConfigError(f"test-time augmentation: scales {list(scales)} must be positive")
        self.model = model
        self.scales = tuple(scales)
        self.resize = resize

    @torch.no_grad()
    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Return a list of {"instances": Instances}, best first.

        Args:
            batched_inputs: one dict per image: "image" (3, H, W) uint8, not resized.
        """
        return [{"instances": self._detect(item["image"])} for item in batched_inputs]

    def _detect(self, image: Tensor) -> Instances:
        height, width = image.shape[1:]
        views = self._views({"image": image.cpu(), "height": height, "width": width})
        transforms = [view.pop("transforms").inverse() for view in views]
        for view in views:  # boxes in pixels of the view
            view["height"], view["width"] = view["image"].shape[1:]
        predictions = self.model(views)
        if any(each["instances"].has("pred_masks") for each in predictions):
            raise ConfigError("test-time augmentation merges boxes, and the model predicts masks")
        outputs = [each["instances"] for each in to_host(predictions)]
        pairs = zip(transforms, outputs, strict=True)
        boxes = [torch.as_tensor(t.apply_box(o.pred_boxes.tensor.numpy())) for t, o in pairs]
        merged = merge(
            torch.cat(boxes).float(),
            torch.cat([output.scores for output in outputs]),
            torch.cat([output.pred_classes for output in outputs]),
        )
        kept = [values[: max(map(len, outputs))] for values in merged]
        names = ("pred_boxes", "scores", "pred_classes")
        fields = dict(zip(names, (Boxes(kept[0]), *kept[1:]), strict=True))
        return Instances((height, width), **fields)

    def _views(self, item: dict[str, Any]) -> list[dict[str, Any]]:
        shortest = self.resize.shortest if self.resize else min(item["height"], item["width"])
        longest = (self.resize.longest if self.resize else None) or NO_LIMIT
        views: list[dict[str, Any]] = []
        for scale in self.scales:
            sizes, limit = [max(1, round(scale * shortest))], round(scale * longest)
            views += DatasetMapperTTA(min_sizes=sizes, max_size=limit, flip=True)(item)
        return views


def merge(boxes: Tensor, scores: Tensor, classes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Merge detections of one image, and return boxes, scores and classes, best first.

    Args:
        boxes: (n, 4) xyxy pixels.
        scores: (n,); of merged detections the highest remains.
        classes: (n,) long.
    """
    kept = grouped_nms(boxes, scores, classes, IOU)
    if not len(kept):
        return boxes[kept], scores[kept], classes[kept]
    overlaps = box_iou(boxes[kept], boxes) * (classes[kept][:, None] == classes)  # (m, n)
    overlaps[torch.arange(len(kept)), kept] = 2.0  # a kept box is its own
    highest, owner = overlaps.max(dim=0)
    weights = torch.zeros_like(overlaps)
    weights[owner, torch.arange(len(boxes))] = scores.clamp(min=1e-9) * (highest > IOU)
    boxes = weights @ boxes / weights.sum(dim=1, keepdim=True)
    return boxes, scores[kept], classes[kept]


def with_tta(
    model: nn.Module, loader: DictConfig, scales: Sequence[float]
) -> tuple[nn.Module, DictConfig]:
    """Return the model and its loader's config for an evaluation with test-time augmentation.

    Args:
        loader: ``dataloader.test``; its resizing becomes part of the model.
        scales: empty: both are returned as they are.

    Raises:
        ConfigError: the loader's mapper augments in another way than by `ResizeShortestEdge`.
    """
    if not scales:
        return model, loader
    rule, others = resize_rule(loader.mapper.augmentations)
    if others:
        raise ConfigError(
            f"dataloader.test.mapper.augmentations: {', '.join(others)} cannot be combined with "
            "test-time augmentation; ResizeShortestEdge of one size can"
        )
    loader = copy.deepcopy(loader)
    loader.mapper.augmentations = []
    return AugmentedDetector(model, scales, rule), loader

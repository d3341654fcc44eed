"""The common part of detectors: from detectron2's inputs to losses or detections.

In training images are padded to the largest of the batch, as the published model was trained; at
inference every image is padded by itself, so that the rest of the batch cannot change its result
(normalisation layers and attention see the padding).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.structures import Instances
from torch import Tensor, nn

from ..assigner.targets import Target
from .mask_outputs import rescale_masks
from .postprocessing import rescale


class MetaArchitecture(nn.Module, ABC):
    """Base of the detectors: subclasses compute losses and detections of normalised images.

    Args:
        pixel_mean, pixel_std: RGB, in the range of the input pixels (0 to 255).
        size_divisibility: images are padded to a multiple of it.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self, pixel_mean: Sequence[float], pixel_std: Sequence[float], size_divisibility: int
    ) -> None:
        super().__init__()
        mean, std = (torch.tensor(list(each)).float() for each in (pixel_mean, pixel_std))
        if mean.shape != std.shape or mean.shape not in ((1,), (3,)) or not (std > 0).all():
            raise ValueError(
                f"pixel_mean {list(pixel_mean)} and pixel_std {list(pixel_std)} must have a number "
                "for each of 3 channels, those of pixel_std above 0"
            )
        if size_divisibility < 1:
            raise ValueError(f"size_divisibility must be at least 1, got {size_divisibility}")
        self.size_divisibility = size_divisibility
        self.register_buffer("pixel_mean", mean.view(-1, 1, 1), False)
        self.register_buffer("pixel_std", std.view(-1, 1, 1), False)

    def freeze(self) -> None:  # noqa: B027 - optional
        """Freeze what is trained already, when all parts are built: nothing (`FrozenDetector`)."""

    @abstractmethod
    def losses(self, images: Sequence[Tensor], targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the weighted losses of images (3, H, W), with ground truth in xyxy pixels."""

    @abstractmethod
    def detect(self, images: Sequence[Tensor]) -> list[Instances]:
        """Return the detections, in pixels, of images (3, H, W) that share their padded size."""

    def forward(
        self, batched_inputs: list[dict[str, Any]]
    ) -> dict[str, Tensor] | list[dict[str, Instances]]:
        """Return a dict of losses in training, else a list of {"instances": Instances}.

        Args:
            batched_inputs: one dict per image: "image" (3, H, W) RGB in 0 to 255; "instances" with
                gt_boxes and gt_classes in training; "height" and "width" to rescale the
                detections to (the input size if absent).
        """
        if not self.training:
            return self.inference(batched_inputs)
        images = [self.normalize(item["image"]) for item in batched_inputs]
        return self.losses(images, [self.target(item["instances"]) for item in batched_inputs])

    @torch.no_grad()
    def inference(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Detect objects; images of equal padded size share a forward pass."""
        images = [self.normalize(item["image"]) for item in batched_inputs]
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            groups.setdefault(self.padded_size([image]), []).append(index)
        results: list[dict[str, Instances]] = [{} for _ in images]
        for indices in groups.values():
            detections = self.detect([images[index] for index in indices])
            for index, instances in zip(indices, detections, strict=True):
                height, width = images[index].shape[-2:]
                item = batched_inputs[index]
                size = item.get("height", height), item.get("width", width)
                scaled = rescale(instances, *size)
                results[index] = {"instances": rescale_masks(scaled, *size)}
        return results

    def normalize(self, image: Tensor) -> Tensor:
        """Move an image (3, H, W) to the model's device and normalise its pixels."""
        image = image.to(self.pixel_mean.device, non_blocking=True)
        return (image - self.pixel_mean) / self.pixel_std

    def padded_size(self, images: Sequence[Tensor]) -> tuple[int, int]:
        """Return the smallest divisible (height, width) that holds all images."""
        step = self.size_divisibility
        height, width = (max(image.shape[axis] for image in images) for axis in (-2, -1))
        return -(-height // step) * step, -(-width // step) * step

    def pad(self, images: Sequence[Tensor]) -> Tensor:
        """Stack images as (B, 3, H, W), zeros at the bottom and on the right."""
        height, width = self.padded_size(images)
        return torch.stack(
            [F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2])) for x in images]
        )

    def image_sizes(self, images: Sequence[Tensor]) -> Tensor:
        """Return (B, 2), the (height, width) of images without padding, on the model's device."""
        sizes = torch.tensor(self.host_sizes(images), dtype=self.pixel_mean.dtype)
        return sizes.to(self.pixel_mean.device, non_blocking=True)

    @staticmethod
    def host_sizes(images: Sequence[Tensor]) -> list[tuple[int, int]]:
        """Return the (height, width) of images without padding, as numbers on the host."""
        return [(image.shape[-2], image.shape[-1]) for image in images]

    def target(self, instances: Instances) -> dict[str, Tensor]:
        """Return the ground truth on the device: what `Target` says, and masks if there are any.

        {"boxes": (T, 4) xyxy pixels, "labels": (T,), "masks": (T, H, W) bool}.
        """
        device = self.pixel_mean.device
        target = {
            "boxes": instances.gt_boxes.tensor.to(device, non_blocking=True),
            "labels": instances.gt_classes.to(device, non_blocking=True),
        }
        if instances.has("gt_masks"):
            target["masks"] = instances.gt_masks.to(device, non_blocking=True)
        return target

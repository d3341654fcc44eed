"""The detector: images -> features -> queries -> decoder -> losses, or detections.

Images come as detectron2's list of dicts. In training they are padded to the largest of the batch,
as the published model was trained; at inference every image is padded by itself, so that what else
is in the batch cannot change its result (the neck's GroupNorm sees the padding).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.structures import Instances
from torch import Tensor, nn

from ..assigner.targets import Target
from .decoder import DecoderOutput, StageInteractorDecoder
from .postprocessing import rescale

Criterion = Callable[[Tensor, Tensor, Sequence[Target], Tensor], dict[str, Tensor]]
Postprocessing = Callable[[Tensor, Tensor, Tensor], list[Instances]]


class StageInteractor(nn.Module):
    """A query-based detector; every part is handed in by the config.

    Args:
        backbone: images (B, 3, H, W) -> dict of maps.
        neck: dict of maps -> L maps (B, D, H_l, W_l).
        queries: image sizes (B, 2) -> content (B, N, D), boxes (B, N, 4) xyzr pixels.
        decoder: maps, content, boxes -> predictions of all stages.
        criterion: logits, boxes, targets, image sizes -> dict of losses.
        postprocessing: logits, boxes of the last stage, image sizes -> detections.
        pixel_mean, pixel_std: RGB, in the range of the input pixels (0 to 255).
        size_divisibility: images are padded to a multiple of it.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        *,
        backbone: nn.Module,
        neck: nn.Module,
        queries: nn.Module,
        decoder: StageInteractorDecoder,
        criterion: Criterion,
        postprocessing: Postprocessing,
        pixel_mean: Sequence[float] = (123.675, 116.28, 103.53),
        pixel_std: Sequence[float] = (58.395, 57.12, 57.375),
        size_divisibility: int = 32,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.queries = queries
        self.decoder = decoder
        self.criterion = criterion
        self.postprocessing = postprocessing
        self.size_divisibility = size_divisibility
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """Return a dict of losses in training, else a list of {"instances": Instances}.

        Args:
            batched_inputs: one dict an image: "image" (3, H, W) RGB in 0 to 255; "instances" with
                gt_boxes and gt_classes in training; "height" and "width" to rescale the
                detections to (the input size if absent).
        """
        if not self.training:
            return self.inference(batched_inputs)
        images = [self.normalize(item["image"]) for item in batched_inputs]
        output, image_sizes = self.decode(self.pad(images), images)
        targets = [self._target(item["instances"]) for item in batched_inputs]
        return self.criterion(output.logits, output.boxes, targets, image_sizes)

    @torch.no_grad()
    def inference(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Detect objects; images of equal padded size share a forward pass."""
        images = [self.normalize(item["image"]) for item in batched_inputs]
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            groups.setdefault(self.padded_size([image]), []).append(index)
        results: list[dict[str, Instances]] = [{} for _ in images]
        for indices in groups.values():
            members = [images[index] for index in indices]
            output, image_sizes = self.decode(self.pad(members), members)
            detections = self.postprocessing(output.logits[-1], output.boxes[-1], image_sizes)
            for index, instances in zip(indices, detections, strict=True):
                height, width = images[index].shape[-2:]
                item = batched_inputs[index]
                size = item.get("height", height), item.get("width", width)
                results[index] = {"instances": rescale(instances, *size)}
        return results

    def decode(self, batch: Tensor, images: Sequence[Tensor]) -> tuple[DecoderOutput, Tensor]:
        """Return the predictions for a padded batch, and the image sizes (B, 2) without padding."""
        sizes = torch.tensor([image.shape[-2:] for image in images], dtype=self.pixel_mean.dtype)
        image_sizes = sizes.to(batch.device, non_blocking=True)
        features = self.neck(self.backbone(batch))
        content, boxes = self.queries(image_sizes)
        return self.decoder(features, content, boxes), image_sizes

    def normalize(self, image: Tensor) -> Tensor:
        """Move an image (3, H, W) to the model's device and normalise its pixels."""
        image = image.to(self.pixel_mean.device, non_blocking=True)
        return (image - self.pixel_mean) / self.pixel_std

    def padded_size(self, images: Sequence[Tensor]) -> tuple[int, int]:
        """Return the (height, width) that holds all images and is divisible as asked."""
        step = self.size_divisibility
        height, width = (max(image.shape[axis] for image in images) for axis in (-2, -1))
        return -(-height // step) * step, -(-width // step) * step

    def pad(self, images: Sequence[Tensor]) -> Tensor:
        """Stack images as (B, 3, H, W), zeros at the bottom and on the right."""
        height, width = self.padded_size(images)
        return torch.stack(
            [F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2])) for x in images]
        )

    def _target(self, instances: Instances) -> dict[str, Tensor]:
        device = self.pixel_mean.device
        return {
            "boxes": instances.gt_boxes.tensor.to(device, non_blocking=True),
            "labels": instances.gt_classes.to(device, non_blocking=True),
        }

"""A config's model with random weights, and random inputs, for measurements."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.structures import Boxes, Instances
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from .config import instantiate

Batch = list[dict[str, Any]]


def untrained_model(cfg: DictConfig) -> nn.Module:
    """Build a config's model without loading the pre-trained weights that it names."""
    cfg = cfg.copy()
    if OmegaConf.select(cfg, "model.backbone.weights"):
        cfg.model.backbone.weights = None  # their values do not matter here
    return instantiate(cfg.model, "model")


@torch.no_grad()
def move_parameters(module: nn.Module, deviation: float = 0.01, seed: int = 0) -> None:
    """Add noise to all parameters.

    A newly initialised decoder has so many zeros that all queries behave alike.
    """
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.add_(noise.to(parameter), alpha=deviation)


def synthetic_batch(
    images: int, size: tuple[int, int], num_gt: int, num_classes: int = 1, seed: int = 0
) -> Batch:
    """Return detector inputs: noise images with random ground-truth boxes, on the CPU.

    Args:
        images: B.
        size: (height, width) of every image.
        num_gt: T, ground-truth boxes of every image.
    """
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    batch = []
    for index in range(images):
        instances = Instances(size)
        instances.gt_boxes = Boxes(random_boxes(num_gt, size, generator))
        instances.gt_classes = torch.randint(num_classes, (num_gt,), generator=generator)
        image = torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8)
        batch.append({"image": image, "instances": instances, "image_id": index})
    return batch


def random_boxes(count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return boxes (count, 4), xyxy pixels, with sides of 5 to 33 % of the image's."""
    scale = torch.tensor([size[1], size[0]], dtype=torch.float32)
    corner, extent = torch.rand(2, count, 2, generator=generator)
    extent = 0.05 + 0.28 * extent
    low = corner * (1.0 - extent)
    return torch.cat([low, low + extent], dim=1) * scale.repeat(2)

"""A detector of two parameters, for tests of the engine."""

from typing import Any

import torch
from detectron2.structures import Boxes, Instances
from torch import nn


class ToyDetector(nn.Module):
    """Regresses the mean of the pixels, and detects the whole image with that score."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, batch: list[dict[str, Any]]) -> Any:
        means = torch.stack([item["image"].float().mean().view(1) / 255 for item in batch])
        scores = self.layer(means).sigmoid().flatten()
        if self.training:
            return {"loss_mean": (scores - means.flatten()).square().mean()}
        return [
            {"instances": self._whole(item, score)}
            for item, score in zip(batch, scores, strict=True)
        ]

    def _whole(self, item: dict[str, Any], score: torch.Tensor) -> Instances:
        height, width = item["height"], item["width"]
        box = Boxes(torch.tensor([[0.0, 0.0, width, height]]))
        return Instances(
            (height, width),
            pred_boxes=box,
            scores=score.view(1),
            pred_classes=torch.zeros(1, dtype=torch.long),
        )

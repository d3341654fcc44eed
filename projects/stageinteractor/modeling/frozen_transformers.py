"""A trained model of Hugging Face transformers with a suppressor that is trained alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..assigner.interface import Assigner
from ..assigner.targets import Target
from ..integrations.last_content import LastContent
from .frozen import FrozenDetector
from .interface import SuppressorCriterion
from .postprocessing import Postprocessing
from .transformers_detector import TransformersDetector


class FrozenTransformersDetector(FrozenDetector, TransformersDetector):
    """`TransformersDetector` with duplicate removal; the model of transformers is frozen.

    Args:
        model, postprocessing, assigner, backbone: as in `TransformersDetector`; visualisations use
            the assigner.
        suppressor: content, logits and boxes of the last layer -> logits (`DuplicateSuppressor`).
        suppressor_loss: its loss.
        pixel_mean, pixel_std, size_divisibility: as in `MetaArchitecture`.
    """

    def __init__(
        self,
        *,
        model: Any,
        postprocessing: Postprocessing,
        suppressor: Any,
        suppressor_loss: SuppressorCriterion,
        assigner: Assigner | None = None,
        backbone: nn.Module | None = None,
        pixel_mean: Sequence[float] = (123.675, 116.28, 103.53),
        pixel_std: Sequence[float] = (58.395, 57.12, 57.375),
        size_divisibility: int = 32,
    ) -> None:
        super().__init__(
            model=model,
            postprocessing=postprocessing,
            assigner=assigner,
            backbone=backbone,
            pixel_mean=pixel_mean,
            pixel_std=pixel_std,
            size_divisibility=size_divisibility,
        )
        self.suppressor = suppressor
        self.suppressor_loss = suppressor_loss
        self.content = LastContent(model, self.num_classes)
        self.freeze()

    def losses(self, images: Sequence[Tensor], targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the loss of the suppressor."""
        logits, boxes = self.predict(images)
        return self.suppressor_loss(logits, boxes, targets, self.image_sizes(images))

    def detector_losses(
        self, images: Sequence[Tensor], targets: Sequence[Target]
    ) -> dict[str, Tensor]:
        """Return the losses of the frozen model, whose matches visualisations show."""
        return super().losses(images, targets)

    def scored_output(self, images: Sequence[Tensor]) -> tuple[Any, Tensor, Tensor]:
        """Return the model's output, the suppressor's logits, and boxes in xyxy pixels."""
        with self.content.recording():
            with torch.no_grad():
                output = self.output(images)
            content = self.content.of(output.logits)
        boxes = self.pixel_boxes(output, images)
        return output, self.suppressor(content, self.class_logits(output), boxes), boxes

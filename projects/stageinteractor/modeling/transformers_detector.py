"""A model of Hugging Face transformers, for boxes or masks too, as a detectron2 model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.structures import Instances
from torch import Tensor, nn

from ..assigner.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from ..assigner.interface import Assigner
from ..assigner.targets import Target
from ..criterion.class_loss import ClassLoss
from ..criterion.training_metrics import statistics_are_due, write_metrics
from ..errors import ConfigError
from ..integrations.mask_trial import reads_pixel_mask
from ..integrations.transformers import require_transformers, use_cross_stage
from .mask_outputs import detections_with_masks, padded_masks
from .meta_architecture import MetaArchitecture
from .postprocessing import Postprocessing


class TransformersDetector(MetaArchitecture):
    """Train and evaluate a ``...ForObjectDetection`` with detectron2's data and hooks.

    A ``...ForInstanceSegmentation`` or ``DetrForSegmentation`` is trained on masks too
    (``dataset.masks=true``), and its detections have ``pred_masks``.

    Boxes are normalised by the size of the image if the model reads a mask of the padding, and by
    the padded size otherwise; a trial shows which (`reads_pixel_mask`).

    Args:
        model: the model of transformers; its ``config.num_labels`` is the number of classes.
        postprocessing: logits, boxes, image sizes -> detections.
        assigner: if given, the model's loss gets cross-stage class targets.
        class_loss, matcher: if given too, replace the model's (`CrossStageCriterion`).
        normalizer: "max" or "host", of the class loss with an assigner.
        backbone: if given, replaces the model's: images -> dict of maps, of which the last ones
            are used. transformers freezes the batch norms of its own.
        log_statistics: write the model's loss terms and statistics of the assigner to the metrics.
        pixel_mean, pixel_std, size_divisibility: as in `MetaArchitecture`.

    Raises:
        MissingDependencyError: transformers is not installed.
        ConfigError: a class loss or matcher without an assigner.
        UnsupportedHostError: the model's loss cannot be given the assigner, or the model does not
            run on images alone.
    """

    def __init__(
        self,
        *,
        model: Any,
        postprocessing: Postprocessing,
        assigner: Assigner | None = None,
        class_loss: ClassLoss | None = None,
        matcher: nn.Module | None = None,
        normalizer: str = "max",
        backbone: nn.Module | None = None,
        log_statistics: bool = False,
        pixel_mean: Sequence[float] = (123.675, 116.28, 103.53),
        pixel_std: Sequence[float] = (58.395, 57.12, 57.375),
        size_divisibility: int = 32,
    ) -> None:
        require_transformers()
        super().__init__(pixel_mean, pixel_std, size_divisibility)
        self.predicts_masks = type(model).__name__.endswith("Segmentation")
        if assigner is not None:
            use_cross_stage(
                model, assigner, normalizer, log_statistics, class_loss=class_loss, matcher=matcher
            )
        elif class_loss is not None or matcher is not None:
            raise ConfigError(
                "model.class_loss and model.matcher come with model.assigner: set it too "
                "(PerStageAssigner assigns the per-stage matches)"
            )
        if backbone is not None:
            encoder = model.base_model.backbone
            encoder.model = _Maps(backbone, len(encoder.intermediate_channel_sizes))
        self.model = model
        self.postprocessing = postprocessing
        self.log_statistics = log_statistics
        self.num_classes: int = model.config.num_labels
        self.with_mask = reads_pixel_mask(model, size_divisibility)

    def losses(self, images: Sequence[Tensor], targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the model's loss; its terms are weighted and summed by the model itself."""
        scale = self.box_scale(images)
        labels = [
            {"class_labels": target["labels"], "boxes": xyxy_to_cxcywh(target["boxes"]) / unit}
            for target, unit in zip(targets, scale, strict=True)
        ]
        if self.predicts_masks:
            size = self.padded_size(images)
            for label, target in zip(labels, targets, strict=True):
                label["masks"] = padded_masks(target, size)
        output = self.model(**self._inputs(images), labels=labels)
        if self.log_statistics and statistics_are_due():
            write_metrics("terms", {k: v.detach()[None] for k, v in output.loss_dict.items()})
        return {"loss": output.loss}

    def detect(self, images: Sequence[Tensor]) -> list[Instances]:
        """Return the detections of the last decoder layer."""
        output, logits, boxes = self.scored_output(images)
        if not self.predicts_masks:
            return self.postprocessing(logits, boxes, self.host_sizes(images))
        return detections_with_masks(
            self.postprocessing,
            logits,
            boxes,
            output.pred_masks,
            sizes=self.host_sizes(images),
            padded_size=self.padded_size(images),
        )

    def predict(self, images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits (B, N, C), of a sigmoid, and boxes (B, N, 4), xyxy pixels."""
        _, logits, boxes = self.scored_output(images)
        return logits, boxes

    def scored_output(self, images: Sequence[Tensor]) -> tuple[Any, Tensor, Tensor]:
        """Return the model's output, and the logits and boxes that detections come from."""
        output = self.output(images)
        return output, self.class_logits(output), self.pixel_boxes(output, images)

    def output(self, images: Sequence[Tensor]) -> Any:
        """Return the model's output without labels."""
        return self.model(**self._inputs(images))

    def class_logits(self, output: Any) -> Tensor:
        """Return the logits (B, N, C) of an output; those of a softmax become a sigmoid's."""
        logits: Tensor = output.logits.float()
        if logits.shape[-1] > self.num_classes:  # softmax, with a column for "none"
            logits = logits.softmax(dim=-1)[..., :-1].logit()
        return logits

    def pixel_boxes(self, output: Any, images: Sequence[Tensor]) -> Tensor:
        """Return the boxes (B, N, 4) of an output, xyxy pixels."""
        return cxcywh_to_xyxy(output.pred_boxes.float() * self.box_scale(images)[:, None])

    def box_scale(self, images: Sequence[Tensor]) -> Tensor:
        """Return (B, 4), w, h, w, h in pixels, by which the model's boxes are normalised."""
        sizes = self.image_sizes(images)
        if not self.with_mask:
            sizes = sizes.new_tensor(self.padded_size(images)).expand_as(sizes)
        return sizes.flip(-1).repeat(1, 2)

    def _inputs(self, images: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the padded batch (B, 3, H, W) and its mask (B, H, W), 0 on the padding."""
        batch = self.pad(images)
        if not self.with_mask:
            return {"pixel_values": batch}
        mask = torch.zeros(batch.shape[0], *batch.shape[-2:], dtype=torch.long)
        for index, image in enumerate(images):
            mask[index, : image.shape[-2], : image.shape[-1]] = 1
        return {"pixel_values": batch, "pixel_mask": mask.to(batch.device, non_blocking=True)}


class _Maps(nn.Module):
    """A backbone of ours with the interface of one of transformers."""

    def __init__(self, backbone: nn.Module, count: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.count = count

    def forward(self, images: Tensor) -> Any:
        from transformers.modeling_outputs import BackboneOutput

        maps = list(self.backbone(images).values())
        return BackboneOutput(feature_maps=tuple(maps[-self.count :]))

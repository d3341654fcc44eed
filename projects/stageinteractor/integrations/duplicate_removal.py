"""Duplicate removal behind a trained detector of detrex or Hugging Face transformers.

    from stageinteractor.integrations.duplicate_removal import remove_duplicates
    from stageinteractor.modeling import DuplicateSuppressor

    model = remove_duplicates(model, DuplicateSuppressor(embed_dim=256, num_classes=80))

The result is called like the model; its losses train the suppressor alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..assigner import HungarianMatcher
from ..assigner.boxes import cxcywh_to_xyxy
from ..assigner.targets import Target
from ..attributes import replaced
from ..criterion import (
    ClassLoss,
    Detached,
    Power,
    ScoreWeight,
    SoftTarget,
    SuppressorLoss,
    TargetWeight,
)
from ..errors import UnsupportedHostError
from .last_content import LastContent

PREFIX = "detector."
SIDE = 1000.0  # pixels that normalised boxes are scaled to; loss and suppressor ignore the scale
Host = TypeVar("Host", bound="FrozenHost")


def varifocal_loss() -> SuppressorLoss:
    """Return the loss of ``common/duplicate_removal.py``."""
    class_loss = ClassLoss(
        target=SoftTarget(Power(iou=1.0)),
        positive_weight=TargetWeight(),
        negative_weight=Detached(ScoreWeight(alpha=0.75, gamma=2.0)),
    )
    return SuppressorLoss(HungarianMatcher(), class_loss)


def remove_duplicates(
    model: nn.Module, suppressor: nn.Module, suppressor_loss: SuppressorLoss | None = None
) -> FrozenHost:
    """Return a trained model with duplicate removal; the model is frozen.

    Args:
        model: a ``...ForObjectDetection`` of transformers, or a model of detrex, with its weights.
        suppressor: a `DuplicateSuppressor` of the model's width and number of classes.
        suppressor_loss: by default `varifocal_loss`.

    Raises:
        UnsupportedHostError: the model is of neither kind. In the first forward pass also: its
            scores are those of a softmax, it has no linear class head, or its detections do not
            come from ``inference``.
    """
    loss = suppressor_loss or varifocal_loss()
    if hasattr(model, "config") and hasattr(model, "loss_function"):
        return FrozenTransformersModel(model, suppressor, loss)
    if hasattr(model, "inference") and hasattr(model, "criterion"):
        return FrozenDetrexModel(model, suppressor, loss)
    raise UnsupportedHostError(
        f"{type(model).__name__} is neither a ...ForObjectDetection of transformers nor a detector "
        "of detrex with a method inference(logits, boxes, image_sizes); for StageInteractor there "
        "are configs (stageinteractor configs duplicate)"
    )


class FrozenHost(nn.Module, ABC):
    """A frozen detector and its suppressor.

    The detector stays in evaluation mode. In the state dict its weights keep their names, those of
    the suppressor begin with ``suppressor.``; a checkpoint of the detector alone loads, too.
    Training refuses one that lacks weights outside the ``trained_parts``.

    Args:
        detector: with its weights; its gradients are switched off.
        suppressor: content, logits and boxes -> logits.
        loss: of the suppressor.
    """

    trained_parts = ("suppressor",)

    def __init__(self, detector: nn.Module, suppressor: Any, loss: SuppressorLoss) -> None:
        super().__init__()
        self.detector: Any = detector.eval().requires_grad_(False)
        self.suppressor = suppressor
        self.loss = loss
        self.content = LastContent(detector, suppressor.num_classes)
        self._register_state_dict_hook(_without_prefix)
        self.register_load_state_dict_pre_hook(_with_prefix)

    def train(self: Host, mode: bool = True) -> Host:
        """Set the mode of the suppressor."""
        super().train(mode)
        self.detector.eval()
        return self

    def rescore(self, logits: Tensor, boxes: Tensor) -> Tensor:
        """Return the suppressor's logits (B, N, C), while the detector's calls are recorded.

        Args:
            logits: (B, N, C), as the detector returns them.
            boxes: (B, N, 4), normalised cxcywh.
        """
        columns, num_classes = logits.shape[-1], self.suppressor.num_classes
        if columns != num_classes:
            softmax = ": those of a softmax cannot be replaced" * (columns == num_classes + 1)
            raise UnsupportedHostError(
                f"{type(self.detector).__name__} returns {columns} logits for {num_classes} "
                f"classes{softmax}; if they are those of sigmoids, build the suppressor with "
                f"num_classes={columns}"
            )
        return self.suppressor(self.content.of(logits), logits, cxcywh_to_xyxy(boxes) * SIDE)

    def suppressor_loss(
        self, logits: Tensor, boxes: Tensor, targets: Sequence[Target]
    ) -> dict[str, Tensor]:
        """Return {"loss_suppressor_class": ...}; all boxes are normalised cxcywh."""
        scaled = [
            {"boxes": cxcywh_to_xyxy(target["boxes"]) * SIDE, "labels": target["labels"]}
            for target in targets
        ]
        sizes = boxes.new_full((len(boxes), 2), SIDE)
        return self.loss(logits, cxcywh_to_xyxy(boxes) * SIDE, scaled, sizes)

    @abstractmethod
    def forward(self, *inputs: Any) -> Any:
        """Return what the detector returns, with other scores, or the loss."""


class FrozenTransformersModel(FrozenHost):
    """A ``...ForObjectDetection`` with a suppressor: the output has its logits and its loss."""

    @property
    def config(self) -> Any:
        """The detector's config."""
        return self.detector.config

    def forward(
        self,
        pixel_values: Tensor,
        pixel_mask: Tensor | None = None,
        labels: Sequence[Mapping[str, Tensor]] | None = None,
    ) -> Any:
        """Return the detector's output with ``logits`` after duplicate removal.

        Args:
            pixel_values: (B, 3, H, W).
            pixel_mask: (B, H, W), 0 on the padding.
            labels: if given, B dicts {"class_labels": (T,), "boxes": (T, 4) normalised cxcywh};
                the output has a ``loss`` then.
        """
        with self.content.recording():
            with torch.no_grad():
                output = self.detector(pixel_values=pixel_values, pixel_mask=pixel_mask)
            output.logits = self.rescore(output.logits, output.pred_boxes)
        if labels is not None:
            targets = [{"boxes": x["boxes"], "labels": x["class_labels"]} for x in labels]
            output.loss_dict = self.suppressor_loss(output.logits, output.pred_boxes, targets)
            output.loss = output.loss_dict["loss_suppressor_class"]
        return output


class FrozenDetrexModel(FrozenHost):
    """A model of detrex with a suppressor, called with detectron2's inputs."""

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """Return the loss in training, else the detections, as the detector does.

        In training the detector sees one image after another: in evaluation mode it has no mask
        for the padding of a batch.
        """
        if not self.training:
            return self._run(batched_inputs)[0]
        runs = [self._run([item])[1] for item in batched_inputs]
        logits, boxes = (torch.cat(field) for field in zip(*runs, strict=True))
        objects = [item["instances"].to(logits.device) for item in batched_inputs]
        return self.suppressor_loss(logits, boxes, self.detector.prepare_targets(objects))

    def _run(self, batched_inputs: list[dict[str, Any]]) -> tuple[Any, tuple[Tensor, Tensor]]:
        """Return the detections, and the suppressor's logits with the boxes they belong to."""
        seen: list[tuple[Tensor, Tensor]] = []
        inference, grad = self.detector.inference, torch.is_grad_enabled()

        def with_suppressor(logits: Tensor, boxes: Tensor, image_sizes: Any) -> Any:
            with torch.set_grad_enabled(grad):
                seen.append((self.rescore(logits, boxes), boxes))
            return inference(seen[0][0].detach(), boxes, image_sizes)

        with self.content.recording(), replaced(self.detector, inference=with_suppressor):
            with torch.no_grad():
                detections = self.detector(batched_inputs)
        if not seen:  # DETA
            raise UnsupportedHostError(
                f"{type(self.detector).__name__} makes its detections without its method "
                "inference(logits, boxes, image_sizes): their scores cannot be replaced"
            )
        return detections, seen[0]


def _without_prefix(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    for name in [name for name in state if name.startswith(prefix + PREFIX)]:
        state[prefix + name.removeprefix(prefix + PREFIX)] = state.pop(name)


def _with_prefix(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    own = (prefix + "suppressor.", prefix + PREFIX)
    for name in [name for name in state if name.startswith(prefix) and not name.startswith(own)]:
        state[prefix + PREFIX + name.removeprefix(prefix)] = state.pop(name)

"""The training losses: match -> assign -> class, L1 and GIoU losses, all stages at once.

In: logits and boxes of every stage, and the ground truth of every image. Out: a dict of scalar
losses, three for each stage, whose sum is minimised. Class targets come from the assigner; box
losses always use the matches of the stage. Paper: section 3.2 and appendix; weights 2, 5, 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..assigner import assignment_statistics, count_step
from ..assigner.boxes import box_giou
from ..assigner.interface import Assigner, Matcher
from ..assigner.masks import not_none
from ..assigner.targets import SharedTargets, Target, matched_boxes, pad_targets
from .assignment import Assignment
from .denoising import Predictions, denoising_assignment, split
from .distributed import step_average
from .interface import AssignmentLoss, PairWeight
from .matched_pairs import MatchedPairs
from .training_metrics import statistics_are_due, write_statistics


class SetCriterion(nn.Module):
    """Compute the losses of all decoder stages in one pass, without a loop over stages.

    Args:
        matcher: such as `HungarianMatcher`.
        assigner: such as `CrossStageAssigner`.
        class_loss: `FocalLoss`, `ClassLoss`, or another `AssignmentLoss`.
        weight_class, weight_bbox, weight_giou: weights of the three terms.
        normalizer: what the losses are divided by: "max", the class loss by the larger of the
            numbers of matches and of labels, as published; "matches", by the number of matches; or
            "objects", by the number of ground-truth boxes, for one-to-many matches. With "max" box
            losses are divided by the number of matches.
        log_statistics: write `assignment_statistics` to detectron2's training metrics.
        box_weight: weights of the box losses, from the logits and IoU of the matches; by default 1.
        denoising_queries: the configured number of denoising queries of an image, which their
            losses are divided by.
    """

    def __init__(
        self,
        matcher: Matcher,
        assigner: Assigner,
        class_loss: AssignmentLoss,
        weight_class: float = 2.0,
        weight_bbox: float = 5.0,
        weight_giou: float = 2.0,
        normalizer: str = "max",
        log_statistics: bool = False,
        box_weight: PairWeight | None = None,
        denoising_queries: int | None = None,
    ) -> None:
        super().__init__()
        if normalizer not in ("max", "matches", "objects"):
            raise ValueError(
                f"normalizer must be 'max', 'matches' or 'objects', got {normalizer!r}"
            )
        self.matcher = matcher
        self.assigner = assigner
        self.class_loss = class_loss
        self.weight_class = weight_class
        self.weight_bbox = weight_bbox
        self.weight_giou = weight_giou
        self.normalizer = normalizer
        self.log_statistics = log_statistics
        self.box_weight = box_weight
        self.denoising_queries = denoising_queries

    def forward(
        self,
        logits: Tensor,
        boxes: Tensor,
        targets: Sequence[Target],
        image_sizes: Tensor,
        query_mask: Tensor | None = None,
        dn_gt_indices: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return {"loss_class_0": ..., "loss_bbox_0": ..., "loss_giou_0": ..., ...}, weighted.

        With denoising queries also {"loss_class_dn_0": ..., ...}.

        Args:
            logits: (S, B, N, C).
            boxes: (S, B, N, 4), xyxy pixels, with gradient.
            targets: B dicts {"boxes": (T, 4) xyxy pixels, "labels": (T,)}.
            image_sizes: (B, 2), (height, width) without padding.
            query_mask: (B, N) bool: True for real queries; padding has no loss.
            dn_gt_indices: (B, M) long: the last M queries are denoising queries of these
                ground-truth boxes, -1 for padding. They are not matched and do not change the
                losses of the other queries.
        """
        with torch.autocast(logits.device.type, enabled=False):
            dtype = torch.float64 if boxes.dtype == torch.float64 else torch.float32
            predictions = Predictions(logits.to(dtype), boxes.to(dtype), query_mask)
            targets = SharedTargets(targets)
            if dn_gt_indices is None:
                return self._matched_losses(predictions, targets, image_sizes)
            matched, denoising = split(predictions, dn_gt_indices)
            losses = self._matched_losses(matched, targets, image_sizes)
            return losses | self._denoising_losses(denoising, dn_gt_indices, targets, image_sizes)

    def _matched_losses(
        self, predictions: Predictions, targets: Sequence[Target], image_sizes: Tensor
    ) -> dict[str, Tensor]:
        """Match, assign, and return the losses."""
        logits, boxes, query_mask = predictions
        inputs = logits.detach(), boxes.detach(), targets, image_sizes
        matches = self.matcher(*inputs, **not_none(query_mask=query_mask))
        detached_boxes = predictions.detached_boxes()
        assignment = Assignment(
            self.assigner, detached_boxes, matches, targets, logits.shape[-1], image_sizes
        )
        sums, num_labels = self._sums(predictions, assignment, image_sizes)
        normalizers = self._normalizers(assignment, num_labels)
        if self.log_statistics and statistics_are_due():
            gt_indices = assignment.label_pairs.gt_indices
            write_statistics(assignment_statistics(gt_indices, matches, targets))
        if self.training:
            count_step(self)
        return self._weighted("", sums, *normalizers)

    def _denoising_losses(
        self,
        predictions: Predictions,
        gt_indices: Tensor,
        targets: Sequence[Target],
        image_sizes: Tensor,
    ) -> dict[str, Tensor]:
        """Return the losses of denoising queries."""
        if self.denoising_queries is None:
            raise ValueError("dn_gt_indices needs denoising_queries, which is None")
        assignment = denoising_assignment(predictions, gt_indices, targets, image_sizes)
        sums, _ = self._sums(predictions, assignment, image_sizes)
        normalizer = self.denoising_queries * len(gt_indices)
        return self._weighted("_dn", sums, normalizer, normalizer)

    def _sums(
        self, predictions: Predictions, assignment: Assignment, image_sizes: Tensor
    ) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        """Return the sums (S,) of class, L1 and GIoU losses, and the number of labels (S,)."""
        logits, boxes, query_mask = predictions
        entries, num_labels = self.class_loss(logits, assignment)  # (S, B, N, C), (S,)
        if query_mask is not None:
            entries = entries.masked_fill(~query_mask.unsqueeze(-1), 0.0)
        weights = self._box_weights(logits.detach(), assignment.match_pairs)
        matches, targets = assignment.matches, assignment.targets
        box_sums = box_losses(boxes, matches, targets, image_sizes, weights)
        return (entries.sum(dim=(1, 2, 3)), *box_sums), num_labels

    def _weighted(
        self,
        suffix: str,
        sums: tuple[Tensor, Tensor, Tensor],
        class_normalizer: Tensor | int,
        box_normalizer: Tensor | int,
    ) -> dict[str, Tensor]:
        """Return the losses of every stage by name."""
        class_sum, bbox_sum, giou_sum = sums
        losses = {
            "class": self.weight_class * class_sum / class_normalizer,
            "bbox": self.weight_bbox * bbox_sum / box_normalizer,
            "giou": self.weight_giou * giou_sum / box_normalizer,
        }
        return {
            f"loss_{name}{suffix}_{stage}": value
            for name, values in losses.items()
            for stage, value in enumerate(values.unbind())
        }

    def _box_weights(self, logits: Tensor, pairs: MatchedPairs) -> Tensor | None:
        """Return the weights (S, B, N) of the box losses of the matches."""
        if self.box_weight is None:
            return None
        return self.box_weight(logits.gather(-1, pairs.labels), pairs.iou, pairs)[..., 0]

    def _normalizers(self, assignment: Assignment, num_labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the normalisers (S,) of the class and of the box losses, averaged over the step.

        They are max(matches, labels) and matches, or matches, or ground-truth boxes. The published
        code takes the maximum on every rank before it averages. The sum over the step, its ranks
        and accumulated batches, is clamped to at least 1, so that a step without any ground-truth
        box has finite losses (the published code divides by zero there).
        """
        if self.normalizer == "objects":
            num_gt = sum(len(target["labels"]) for target in assignment.targets)
            number = step_average(torch.full_like(num_labels, num_gt))
            return number, number
        num_matches = (assignment.matches >= 0).sum(dim=(1, 2)).to(num_labels.dtype)
        num_labels, num_matches = step_average(torch.stack([num_labels, num_matches]))
        if self.normalizer == "max":
            return torch.maximum(num_labels, num_matches), num_matches
        return num_matches, num_matches


def box_losses(
    boxes: Tensor,
    matches: Tensor,
    targets: Sequence[Target],
    image_sizes: Tensor,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the sums (S,) of the L1 loss, normalised by (w, h, w, h), and of 1 - GIoU in pixels.

    Unmatched queries get a unit box on both sides: their loss and gradient are exactly zero,
    whatever the predicted box is, and no index has to be copied to the host.

    Args:
        boxes: (S, B, N, 4), xyxy pixels.
        matches: (S, B, N) long: index of the matched ground-truth box or -1.
        targets: B dicts {"boxes": (T, 4) xyxy pixels, "labels": (T,)}.
        image_sizes: (B, 2), (height, width).
        weights: (S, B, N), of the matches; by default 1.
    """
    padded = pad_targets(targets, like=boxes)
    matched = (matches >= 0).unsqueeze(-1)  # (S, B, N, 1)
    unit = boxes.new_zeros(4)
    unit[2:] = 1.0
    gt_boxes = torch.where(matched, matched_boxes(padded, matches), unit)  # (S, B, N, 4)
    boxes = torch.where(matched, boxes, unit)
    scale = image_sizes.to(boxes).flip(-1).repeat(1, 2).unsqueeze(1)  # (B, 1, 4): w, h, w, h
    l1 = (boxes / scale - gt_boxes / scale).abs()  # (S, B, N, 4)
    giou = 1.0 - box_giou(boxes, gt_boxes)  # (S, B, N)
    if weights is not None:
        l1, giou = l1 * weights.unsqueeze(-1), giou * weights
    return l1.sum(dim=(1, 2, 3)), giou.sum(dim=(1, 2))

"""The cross-stage label assigner (CSLA): class targets gathered over the decoder's stages.

Every stage is matched separately. A query then collects the classes of all ground-truth boxes it is
matched to at the stages in its scope, and keeps those whose IoU with its current box reaches the
threshold. A label never moves between queries, and box targets are those of the stage's match.
Paper: section 3.2; the equation is the one the published code executes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .boxes import box_iou
from .targets import (
    PaddedTargets,
    Target,
    check_labels,
    matched_boxes,
    matched_labels,
    pad_targets,
)


class CrossStageAssigner:
    """Turn matches into cross-stage class targets.

    With m_s(q) the ground-truth box of query q at stage s, the target of query q for class c at
    stage i is 1 if max over s in scope(i) with class(m_s(q)) = c of
    IoU(box_q at stage i, m_s(q)) >= threshold.

    Args:
        iou_threshold: minimum IoU of the current box with the ground-truth box, inclusive.
        scope: offsets (first, last) of the stages that stage i gathers from, None for an open
            end. (-1, None) is [i - 1, last stage]. Stage i itself is always included.
        keep_own_match: keep the class of the stage's match whatever its IoU. The published model
            does not: a match below the threshold is a negative (but has box losses).
    """

    def __init__(
        self,
        iou_threshold: float = 0.5,
        scope: tuple[int | None, int | None] = (-1, None),
        keep_own_match: bool = False,
    ) -> None:
        if not 0.0 <= iou_threshold <= 1.0:
            raise ValueError(f"iou_threshold must lie in [0, 1], got {iou_threshold}")
        first, last = scope
        if first is not None and last is not None and first > last:
            raise ValueError(f"scope must be (first, last) with first <= last, got {scope}")
        self.iou_threshold = iou_threshold
        self.scope = (first, last)
        self.keep_own_match = keep_own_match

    @torch.no_grad()
    def __call__(
        self, boxes: Tensor, matches: Tensor, targets: Sequence[Target], num_classes: int
    ) -> Tensor:
        """Assign class targets to all queries of all stages.

        Args:
            boxes: (S, B, N, 4), xyxy pixels: the refined boxes of every stage.
            matches: (S, B, N) long: index of the matched ground-truth box or -1.
            targets: B dicts {"boxes": (T, 4) xyxy pixels, "labels": (T,), 0 to C - 1}.
            num_classes: C.

        Returns:
            (S, B, N, C), 0 or 1 in the dtype of ``boxes``; a query may have several classes.

        Raises:
            ValueError: shapes do not fit together. On a CPU also: a label is not 0 to C - 1, or
                an image has fewer boxes than a match says.
        """
        padded = padded_for(boxes, matches, targets)
        check_labels(padded, num_classes)
        _, valid = self._candidates(boxes, matches, padded)
        # (S, S', B, N) -> (S, B, N, S'): one candidate label from every source stage s'
        labels = matched_labels(padded, matches).expand_as(valid).movedim(1, -1)
        return scatter_labels(labels, valid.movedim(1, -1), num_classes).to(boxes.dtype)

    @torch.no_grad()
    def assigned_gt_indices(
        self, boxes: Tensor, matches: Tensor, targets: Sequence[Target]
    ) -> Tensor:
        """Return the ground-truth boxes behind the class targets of every query, best IoU first.

        For losses that need the box and not only its class, such as those with IoU targets. The
        classes are exactly those of the class targets.

        Args:
            boxes, matches, targets: as for the class targets.

        Returns:
            (S, B, N, S) long: indices of boxes of different classes, -1 for unused entries.
        """
        padded = padded_for(boxes, matches, targets)
        # source stages last: (S, B, N, S') from here on
        iou, valid = (x.movedim(1, -1) for x in self._candidates(boxes, matches, padded))
        order = iou.masked_fill(~valid, -1.0).argsort(dim=-1, descending=True, stable=True)
        labels = matched_labels(padded, matches).movedim(0, -1).expand_as(order).gather(-1, order)
        gt_indices = matches.movedim(0, -1).expand_as(order).gather(-1, order)
        valid = valid.gather(-1, order)
        same_class = (labels.unsqueeze(-1) == labels.unsqueeze(-2)) & valid.unsqueeze(
            -2
        )  # (S, B, N, S', S')
        valid &= ~same_class.tril(diagonal=-1).any(dim=-1)  # a better one has this class
        order = (~valid).byte().argsort(dim=-1, stable=True)  # valid entries first
        return gt_indices.masked_fill(~valid, -1).gather(-1, order)

    def _candidates(
        self, boxes: Tensor, matches: Tensor, padded: PaddedTargets
    ) -> tuple[Tensor, Tensor]:
        """Compare the boxes of stage i with the ground-truth boxes matched at stage s'.

        Returns their IoU (S, S', B, N), and whether stage i takes that label (S, S', B, N).
        """
        candidates = matched_boxes(padded, matches)  # (S', B, N, 4)
        iou = box_iou(boxes.unsqueeze(1), candidates.unsqueeze(0))  # (S, S', B, N)
        matched = matches >= 0
        valid = (iou >= self.threshold(boxes.device)) & matched
        valid &= self.scope_mask(len(matches), boxes.device)[:, :, None, None]
        if self.keep_own_match:
            valid |= matched & _own_stage(len(matches), boxes.device)
        return iou, valid

    def threshold(self, device: torch.device) -> float | Tensor:
        """Return the minimum IoU of a label."""
        return self.iou_threshold

    def scope_mask(self, num_stages: int, device: torch.device | None = None) -> Tensor:
        """Return (S, S) bool: whether stage i (row) gathers labels from stage s (column)."""
        first, last = self.scope
        mask = torch.ones(num_stages, num_stages, dtype=torch.bool, device=device)
        mask = mask if first is None else mask.triu_(first)
        mask = mask if last is None else mask.tril_(last)
        return mask.fill_diagonal_(True)


def scatter_labels(labels: Tensor, valid: Tensor, num_classes: int) -> Tensor:
    """Return (..., C) float multi-hot rows of the valid classes among labels (..., K)."""
    rows = torch.zeros(*labels.shape[:-1], num_classes, device=labels.device)
    return rows.scatter_reduce_(-1, labels, valid.to(rows.dtype), "amax")


def padded_for(boxes: Tensor, matches: Tensor, targets: Sequence[Target]) -> PaddedTargets:
    """Return the padded targets of boxes (S, B, N, 4) with matches (S, B, N).

    Raises:
        ValueError: shapes do not fit together, or, on a CPU, a match is not a box of its image.
    """
    if boxes.dim() != 4 or boxes.shape[-1] != 4 or matches.shape != boxes.shape[:3]:
        raise ValueError(
            "expected boxes (S, B, N, 4) and matches (S, B, N), "
            f"got {tuple(boxes.shape)} and {tuple(matches.shape)}"
        )
    if len(targets) != boxes.shape[1]:
        raise ValueError(f"expected {boxes.shape[1]} targets, one per image, got {len(targets)}")
    padded = pad_targets(targets, like=boxes)
    if matches.device.type == "cpu":
        outside = matches >= torch.tensor(padded.counts)[:, None]
        if outside.any():
            stage, image, query = outside.nonzero()[0].tolist()
            raise ValueError(
                f"matches of stage {stage}, image {image}: query {query} has box "
                f"{matches[stage, image, query].item()}, but the image has "
                f"{padded.counts[image]} boxes, counted from 0"
            )
    return padded


def _own_stage(num_stages: int, device: torch.device) -> Tensor:
    return torch.eye(num_stages, dtype=torch.bool, device=device)[:, :, None, None]

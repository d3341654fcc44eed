"""One-to-many matching by quality: every ground-truth box is matched to its best queries.

Quality is a mixture of IoU and score; the number of queries of a box depends on how many reach the
minimum. Nothing is copied to the host. Sources: MS-DETR (Zhao et al., CVPR 2024) and DETA
(Ouyang-Zhang et al., 2022), as their released code executes it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .boxes import box_iou
from .matching import check_predictions
from .targets import PaddedTargets, Target, check_labels, pad_targets


class QualityTopKMatcher:
    """Match every ground-truth box to its top k queries by quality.

    The quality of query q for ground-truth box t is m(q, t) = w IoU + (1 - w) p(class of t). A
    query is a candidate of the box it fits best if that quality reaches ``min_quality``, or if it
    is the best query of any box. With n_t the number of candidates of t, the min(n_t, k) queries of
    the highest m(., t) are matched to t, whether or not they are its candidates. A query that
    several boxes take goes to the one of the highest quality, so a box can end without a query.

    Args:
        k: the maximum number of queries of a ground-truth box.
        min_quality: minimum quality of a candidate, inclusive.
        iou_weight: w, the weight of the IoU; the score has the rest.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, k: int = 6, min_quality: float = 0.4, iou_weight: float = 0.7) -> None:
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        for name, value in {"min_quality": min_quality, "iou_weight": iou_weight}.items():
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must lie in [0, 1], got {value}")
        self.k = k
        self.min_quality = min_quality
        self.iou_weight = iou_weight

    @torch.no_grad()
    def __call__(
        self,
        logits: Tensor,
        boxes: Tensor,
        targets: Sequence[Target],
        image_sizes: Tensor,
        query_mask: Tensor | None = None,
    ) -> Tensor:
        """Match every stage of every image; arguments and errors are `HungarianMatcher`'s.

        Returns:
            (S, B, N) long: index of the matched ground-truth box, -1 for background. A box occurs
            up to k times.
        """
        check_predictions(logits, boxes, targets, image_sizes)
        with torch.autocast(logits.device.type, enabled=False):
            dtype = torch.float64 if boxes.dtype == torch.float64 else torch.float32
            padded = pad_targets(targets, like=boxes.to(dtype))
            check_labels(padded, logits.shape[-1])
            if not padded.labels.shape[1] or not boxes.shape[2]:
                return torch.full(boxes.shape[:3], -1, device=boxes.device)
            quality = self.quality(logits.to(dtype), boxes.to(dtype), padded)
        pairs = padded.mask.unsqueeze(1)  # (B, 1, T): padded boxes have no pairs
        if query_mask is not None:
            pairs = pairs & query_mask.unsqueeze(-1)  # (B, N, T)
        return self._match(quality.masked_fill(~pairs, -1.0))

    def quality(self, logits: Tensor, boxes: Tensor, padded: PaddedTargets) -> Tensor:
        """Return the quality (S, B, N, T) of queries and (padded) ground-truth boxes."""
        iou = box_iou(boxes.unsqueeze(3), padded.boxes.unsqueeze(1))  # (S, B, N, T)
        index = padded.labels.unsqueeze(1).expand_as(iou)
        scores = logits.gather(3, index).sigmoid()
        return self.iou_weight * iou + (1.0 - self.iou_weight) * scores

    def _match(self, quality: Tensor) -> Tensor:
        """Return matches (S, B, N); ``quality`` is -1 for pairs that cannot be."""
        counts = self._candidate_counts(quality)  # (S, B, T)
        top, queries = quality.topk(min(self.k, quality.shape[2]), dim=2)  # (S, B, k, T)
        rank = torch.arange(top.shape[2], device=quality.device).unsqueeze(1)  # (k, 1)
        taken = (rank < counts.unsqueeze(2)) & (top >= 0)
        # a query is matched to the best of the boxes that take it
        offered = torch.full_like(quality, -1.0).scatter_(2, queries, top.masked_fill(~taken, -1.0))
        best, match = offered.max(dim=3)  # (S, B, N)
        return match.masked_fill(best < 0, -1)

    def _candidate_counts(self, quality: Tensor) -> Tensor:
        """Return the number of candidates of every ground-truth box (S, B, T)."""
        best, favourite = quality.max(dim=3)  # (S, B, N): of every query
        best_of_gt, leader = quality.max(dim=2)  # (S, B, T): of every box
        leads = torch.zeros_like(best).scatter_reduce_(
            2, leader, (best_of_gt >= 0).to(best), "amax"
        )
        candidate = (best >= self.min_quality) | (leads > 0)
        counts = torch.zeros_like(best_of_gt, dtype=torch.long)
        return counts.scatter_add_(2, favourite, candidate.long())

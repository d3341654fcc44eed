"""How stable the matching is from stage to stage, and which labels the assigner changes.

The unstable score is Stable-DINO's (Liu et al., ICCV 2023): the share of ground-truth boxes whose
matched query changes between two adjacent stages.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .targets import Target, matched_labels, pad_targets


def unstable_scores(matches: Tensor, targets: Sequence[Target]) -> Tensor:
    """Return (S - 1,) per cent of ground-truth boxes matched to another query than a stage before.

    Counted over all boxes of the batch (micro average); zero without any. A box that neither stage
    matches (more boxes than queries) counts as unchanged; one with several queries counts as
    changed if any of them is another.

    Args:
        matches: (S, B, N) long: index of the matched ground-truth box or -1.
        targets: B dicts {"boxes": (T, 4), "labels": (T,)}.

    Raises:
        ValueError: there are more or fewer targets than images.
    """
    total = sum(len(target["labels"]) for target in targets)
    return changed_gt(matches, targets) * (100.0 / max(total, 1))


def changed_gt(matches: Tensor, targets: Sequence[Target]) -> Tensor:
    """Count the ground-truth boxes (S - 1,) matched to other queries than one stage before.

    The numerators of `unstable_scores`, which can be added over batches; arguments as there.
    """
    if len(targets) != matches.shape[1]:
        raise ValueError(f"expected {matches.shape[1]} targets, one per image, got {len(targets)}")
    max_gt = max((len(target["labels"]) for target in targets), default=0)
    before, after = matches[:-1], matches[1:]
    moved = before != after  # (S - 1, B, N): the box that is left has changed, and the one taken
    changed = torch.zeros(*before.shape[:2], max_gt + 1, dtype=torch.long, device=matches.device)
    for side in before, after:
        index = side.masked_fill(~moved | (side < 0), max_gt)  # column T collects the others
        changed.scatter_(2, index, 1)
    return changed[..., :max_gt].sum(dim=(1, 2))


@torch.no_grad()
def assignment_statistics(
    gt_indices: Tensor, matches: Tensor, targets: Sequence[Target]
) -> dict[str, Tensor]:
    """Compare the assigned labels with the matches of every stage, over all images of the batch.

    Args:
        gt_indices: (S, B, N, R) long: the assigner's ``assigned_gt_indices``, -1 where unused.
        matches: (S, B, N) long: index of the matched ground-truth box or -1.
        targets: B dicts {"boxes": (T, 4), "labels": (T,)}.

    Returns:
        ``labels_added``: labels of a query that its match does not have; ``labels_dropped``: labels
        of matches that the query is not assigned; ``multi_class_queries``: queries with two labels
        or more; ``multi_query_gt``: ground-truth boxes assigned to two queries or more; all
        (S,). ``unstable_score``: (S - 1,) per cent.
    """
    padded = pad_targets(targets, like=torch.empty(0, device=matches.device))
    match_labels = matched_labels(padded, matches).unsqueeze(-1)  # (S, B, N, 1)
    matched = (matches >= 0).unsqueeze(-1)  # (S, B, N, 1)
    valid = gt_indices >= 0  # (S, B, N, R)
    labels = matched_labels(padded, gt_indices.flatten(2)).view_as(gt_indices)  # (S, B, N, R)
    kept = valid & matched & (labels == match_labels)
    counts = _queries_per_gt(gt_indices, padded.labels.shape[1])  # (S, B, T)
    return {
        "labels_added": (valid & ~kept).sum(dim=(1, 2, 3)),
        "labels_dropped": (matched[..., 0] & ~kept.any(dim=-1)).sum(dim=(1, 2)),
        "multi_class_queries": (valid.sum(dim=-1) > 1).sum(dim=(1, 2)),
        "multi_query_gt": (counts > 1).sum(dim=(1, 2)),
        "unstable_score": unstable_scores(matches, targets),
    }


def _queries_per_gt(gt_indices: Tensor, num_gt: int) -> Tensor:
    """Count the queries that every ground-truth box is assigned to: (S, B, N, R) -> (S, B, T)."""
    index = torch.where(gt_indices < 0, num_gt, gt_indices).flatten(2)  # column T: unused
    counts = index.new_zeros(*index.shape[:2], num_gt + 1)
    return counts.scatter_add_(2, index, torch.ones_like(index))[..., :num_gt]

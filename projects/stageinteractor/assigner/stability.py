"""How steady the label assignment is from stage to stage, and what the assigner changed.

The unstable score is Stable-DINO's (Liu et al., ICCV 2023): the share of objects whose
matched query changes between two adjacent stages.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .targets import Target, matched_labels, pad_targets


def queries_of_objects(matches: Tensor, num_objects: int) -> Tensor:
    """Invert matches (S, B, N) to the query of every object (S, B, T), -1 where it has none."""
    stages, images, queries = matches.shape
    index = torch.where(matches < 0, num_objects, matches)  # column T collects the unmatched
    query = torch.arange(queries, device=matches.device).expand_as(matches)
    inverse = matches.new_full((stages, images, num_objects + 1), -1)
    return inverse.scatter_(2, index, query)[..., :num_objects]


def unstable_scores(matches: Tensor, targets: Sequence[Target]) -> Tensor:
    """Return (S - 1,) per cent of objects matched to another query than one stage before.

    Counted over all objects of the batch together (micro average); zero without any object. An
    object that neither stage matched (more objects than queries) counts as unchanged.

    Args:
        matches: (S, B, N) long: index of the matched object or -1.
        targets: B dicts {"boxes": (T, 4), "labels": (T,)}.
    """
    total = sum(len(target["labels"]) for target in targets)
    return changed_objects(matches, targets) * (100.0 / max(total, 1))


def changed_objects(matches: Tensor, targets: Sequence[Target]) -> Tensor:
    """Return (S - 1,) objects matched to another query than one stage before, over all images.

    The numerators of `unstable_scores`, which can be added up over batches; arguments as there.
    """
    most = max((len(target["labels"]) for target in targets), default=0)
    queries = queries_of_objects(matches, most)
    return (queries[1:] != queries[:-1]).sum(dim=(1, 2))


@torch.no_grad()
def assignment_statistics(
    objects: Tensor, matches: Tensor, targets: Sequence[Target]
) -> dict[str, Tensor]:
    """Count what an assigner did at every stage, over all images of the batch.

    Args:
        objects: (S, B, N, R) long: the assigner's ``assigned_gt_indices``, -1 where there is none.
        matches: (S, B, N) long: index of the matched object or -1.
        targets: B dicts {"boxes": (T, 4), "labels": (T,)}.

    Returns:
        ``labels_added``: classes of a query that its own match does not have; ``labels_dropped``:
        classes of own matches that the query was not given; ``multi_class_queries``: queries with
        two classes or more; ``multi_query_objects``: objects that two queries or more learn from;
        all (S,). ``unstable_score``: (S - 1,) per cent.
    """
    padded = pad_targets(targets, like=torch.empty(0, device=matches.device))
    own_labels = matched_labels(padded, matches).unsqueeze(-1)
    own = (matches >= 0).unsqueeze(-1)
    valid = objects >= 0
    ranks = objects.shape[-1]
    labels = matched_labels(padded, objects.movedim(-1, 0).flatten(0, 1))
    labels = labels.view(ranks, *matches.shape).movedim(0, -1)
    kept = valid & own & (labels == own_labels)
    counts = _queries_per_object(objects, padded.labels.shape[1])
    return {
        "labels_added": (valid & ~kept).sum(dim=(1, 2, 3)),
        "labels_dropped": (own[..., 0] & ~kept.any(dim=-1)).sum(dim=(1, 2)),
        "multi_class_queries": (valid.sum(dim=-1) > 1).sum(dim=(1, 2)),
        "multi_query_objects": (counts > 1).sum(dim=(1, 2)),
        "unstable_score": unstable_scores(matches, targets),
    }


def _queries_per_object(objects: Tensor, num_objects: int) -> Tensor:
    """Count for (S, B, N, R) objects how many queries learn from each of them: (S, B, T)."""
    index = torch.where(objects < 0, num_objects, objects).flatten(2)
    counts = index.new_zeros(*index.shape[:2], num_objects + 1)
    return counts.scatter_add_(2, index, torch.ones_like(index))[..., :num_objects]

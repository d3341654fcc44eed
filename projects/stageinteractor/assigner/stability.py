"""How steady the label assignment is from stage to stage, and what the assigner changed.

The unstable score is Stable-DINO's (Liu et al., ICCV 2023, section 3.1): the share of objects whose
matched query changes between two adjacent stages.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .targets import Target


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
    counts = [len(target["labels"]) for target in targets]
    queries = queries_of_objects(matches, max(counts, default=0))
    changed = (queries[1:] != queries[:-1]).sum(dim=(1, 2))
    return changed * (100.0 / max(sum(counts), 1))


def label_changes(class_targets: Tensor, own_targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return how many labels (S,) the cross-stage assigner added, and how many it dropped.

    Args:
        class_targets: (S, B, N, C) of the cross-stage assigner.
        own_targets: (S, B, N, C) of the per-stage assigner on the same matches.
    """
    now, before = class_targets > 0, own_targets > 0
    return (now & ~before).sum(dim=(1, 2, 3)), (before & ~now).sum(dim=(1, 2, 3))

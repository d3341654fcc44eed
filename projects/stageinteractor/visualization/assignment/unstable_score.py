"""The unstable score of a model over a data set, from counts that are summed over batches.

In: a model and batches of annotated images. Out: for every pair of adjacent stages the number of
ground-truth boxes matched to another query, and for every stage the labels that the assigner adds.
The unstable score (Stable-DINO, Liu et al., ICCV 2023) is the share of changed boxes of the set.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import add
from typing import Any

import torch
from torch import Tensor, nn

from ...assigner import PerStageAssigner, assignment_statistics
from ...assigner.stability import changed_gt
from ...assigner.targets import Target
from ...errors import DataError
from .recording import (
    is_stageinteractor,
    match_after_removal,
    record_stageinteractor,
    record_third_party,
)


@dataclass(frozen=True)
class Stability:
    """Counts over images; stages count from 0. Counts of two batches can be added."""

    num_images: int
    num_gt: int
    changed: tuple[int, ...]  # (S - 1,) boxes matched to another query than one stage before
    from_encoder: int | None  # the same between proposals and stage 0; None: no proposals
    labels_added: tuple[int, ...]  # (S,) labels from matches of other stages
    multi_query_gt: tuple[int, ...]  # (S,) boxes assigned to two queries or more
    to_removal: int | None = None  # changed after duplicate removal; None: the model has none

    def __add__(self, other: Stability) -> Stability:
        return Stability(
            self.num_images + other.num_images,
            self.num_gt + other.num_gt,
            tuple(map(add, self.changed, other.changed)),
            _sum(self.from_encoder, other.from_encoder),
            tuple(map(add, self.labels_added, other.labels_added)),
            tuple(map(add, self.multi_query_gt, other.multi_query_gt)),
            _sum(self.to_removal, other.to_removal),
        )

    def unstable_scores(self) -> dict[str, float]:
        """Return per cent of all gt boxes by step: "0 -> 1", "1 -> 2", ...

        Before them "encoder -> 0" with proposals, after them "2 -> removal" with duplicate removal.
        """
        counts = {} if self.from_encoder is None else {"encoder -> 0": self.from_encoder}
        counts |= {f"{stage} -> {stage + 1}": n for stage, n in enumerate(self.changed)}
        if self.to_removal is not None:
            counts[f"{len(self.changed)} -> removal"] = self.to_removal
        return {step: 100.0 * count / max(self.num_gt, 1) for step, count in counts.items()}

    def as_json(self) -> dict[str, Any]:
        """Return the entry of a run in ``unstable_score.json``."""
        return {
            "images": self.num_images,
            "gt_boxes": self.num_gt,
            "unstable_score": self.unstable_scores(),
            "mean_unstable_score": self.mean_unstable_score,
            "labels_added_per_image": self.labels_added_per_image,
            "gt_with_several_queries": self.multi_query_share,
        }

    @property
    def mean_unstable_score(self) -> float:
        """Mean over the decoder's steps, per cent: neither from the encoder nor to removal."""
        steps = len(self.changed)
        return 100.0 * sum(self.changed) / max(self.num_gt * steps, 1)

    @property
    def labels_added_per_image(self) -> list[float]:
        """Mean over images, for each stage."""
        return [count / max(self.num_images, 1) for count in self.labels_added]

    @property
    def multi_query_share(self) -> list[float]:
        """Ground-truth boxes assigned to several queries, per cent, for each stage."""
        return [100.0 * count / max(self.num_gt, 1) for count in self.multi_query_gt]


def _sum(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else first + second


def count_changes(
    matches: Tensor,
    assigned: Tensor,
    targets: Sequence[Target],
    *,
    proposals: Tensor | None = None,
    removal: Tensor | None = None,
) -> Stability:
    """Count the changes from stage to stage in a batch.

    Args:
        matches: (S, B, N) long: index of the matched gt box or -1.
        assigned: (S, B, N, R) long: gt indices that a query's class labels come from, or -1.
        targets: B dicts {"boxes": (T, 4), "labels": (T,)}.
        proposals: (B, N) long: as ``matches``, for the encoder's proposals that become the queries.
        removal: (B, N) long: as ``matches``, for the scores after duplicate removal.
    """
    statistics = assignment_statistics(assigned, matches, targets)
    return Stability(
        num_images=len(targets),
        num_gt=sum(len(target["labels"]) for target in targets),
        changed=tuple(changed_gt(matches, targets).tolist()),
        from_encoder=_num_changed(proposals, matches[0], targets),
        labels_added=tuple(statistics["labels_added"].tolist()),
        multi_query_gt=tuple(statistics["multi_query_gt"].tolist()),
        to_removal=_num_changed(removal, matches[-1], targets),
    )


def _num_changed(other: Tensor | None, matches: Tensor, targets: Sequence[Target]) -> int | None:
    """Count the boxes that (B, N) ``matches`` gives to another query than ``other`` does."""
    return None if other is None else int(changed_gt(torch.stack([other, matches]), targets))


@torch.no_grad()
def batch_stability(model: nn.Module, batch: Sequence[dict[str, Any]]) -> Stability:
    """Match a batch with the model's own matcher, and count the changes.

    Denoising queries are left out. A third-party model without the cross-stage assigner has no
    added labels.

    Args:
        model: `StageInteractor`, `TransformersDetector`, or a model of detrex.
        batch: as in training: "image" (3, H, W) RGB in 0 to 255 and "instances".

    Raises:
        UnsupportedHostError: the model has no criterion of DETR form.
    """
    if is_stageinteractor(model):
        step = record_stageinteractor(model, batch)
        return count_changes(step.matches, step.assigned, step.targets, removal=step.removal)
    from ...integrations.proposals import match_proposals

    step = record_third_party(model, batch, PerStageAssigner())
    return count_changes(
        step.matches,
        step.assigned_gt_indices(),
        step.ground_truth,
        proposals=match_proposals(step),
        removal=match_after_removal(model, batch),
    )


def measure_stability(model: nn.Module, batches: Iterable[Sequence[dict[str, Any]]]) -> Stability:
    """Add up the counts of batches; every box has the same weight (micro average).

    Raises:
        DataError: no image has ground truth.
        UnsupportedHostError: see `batch_stability`.
    """
    total: Stability | None = None
    for batch in batches:
        counts = batch_stability(model, batch)
        total = counts if total is None else total + counts
    if total is None or total.num_gt == 0:
        raise DataError("the images have no ground-truth boxes: there is nothing to match")
    return total

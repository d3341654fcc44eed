"""Statistics over images: the unstable score, and what the assigner adds and drops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tabulate import tabulate

from ...assigner import assignment_statistics
from .query_labels import ImageAssignment

COUNTS = {
    "labels_added": "labels added",
    "labels_dropped": "labels dropped",
    "multi_class_queries": "queries with several classes",
    "multi_query_gt": "gt boxes with several queries",
}


@dataclass(frozen=True)
class Summary:
    """Sums over images, one number for each stage."""

    num_images: int
    num_gt: int
    matches: list[int]
    counts: dict[str, list[int]]  # of `assignment_statistics`
    unstable_score: list[float]  # (S - 1,) per cent of gt boxes matched to another query

    def table(self) -> str:
        """Return a text table with a row for each stage."""
        head = ["stage", "matches", *COUNTS.values(), "unstable %"]
        rows = []
        for stage, matches in enumerate(self.matches):
            unstable = f"{self.unstable_score[stage - 1]:.1f}" if stage else ""
            rows.append([stage, matches, *(self.counts[n][stage] for n in COUNTS), unstable])
        return tabulate(rows, headers=head, tablefmt="simple", disable_numparse=True)


def summarize(items: Sequence[ImageAssignment]) -> Summary:
    """Add up the statistics of images; the unstable score is over all their ground-truth boxes."""
    statistics = [
        assignment_statistics(item.assigned[:, None], item.matches[:, None], [item.target])
        for item in items
    ]
    sums = {name: torch.stack([each[name] for each in statistics]).sum(dim=0) for name in COUNTS}
    num_gt = torch.tensor([len(item.gt_classes) for item in items])
    unstable = torch.stack([each["unstable_score"] for each in statistics])  # (images, S - 1)
    return Summary(
        num_images=len(items),
        num_gt=int(num_gt.sum()),
        matches=torch.stack([(item.matches >= 0).sum(dim=1) for item in items]).sum(dim=0).tolist(),
        counts={name: total.tolist() for name, total in sums.items()},
        unstable_score=(num_gt.float() @ unstable / num_gt.sum().clamp(min=1)).tolist(),
    )

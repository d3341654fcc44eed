"""One row of an ablation table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

PaperResults = tuple[float | None, ...]  # AP, AP50, AP75, APs, APm, APl in per cent on COCO


class ShareOfTraining(NamedTuple):
    """A number of iterations, as a share of ``train.max_iter``."""

    share: float


class Row(NamedTuple):
    """One row of a table."""

    name: str
    changes: Mapping[str, Any] = {}  # config key -> value
    paper: PaperResults = ()
    trained: bool = True  # False: evaluate the full model's weights with these changes

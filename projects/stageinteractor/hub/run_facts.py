"""What the folder of a run says about one of its checkpoints, for the model card."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from ..engine.min_scores import own_metrics
from ..engine.weights import read_checkpoint
from ..json_files import is_metric_value
from .card import RunFacts

SHOWN = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def facts_of(
    checkpoint: str | os.PathLike[str], command: str | None = None, licence: str | None = None
) -> RunFacts:
    """Return the metrics of a checkpoint's own evaluation, from ``metrics.json`` beside it.

    Args:
        checkpoint: of a run; metrics of other iterations of the run are not those of the model.

    Raises:
        DataError: the checkpoint or ``metrics.json`` cannot be read.
    """
    metrics: dict[str, float] = {}
    if Path(checkpoint).suffix != ".safetensors":
        metrics = _box_metrics(own_metrics(checkpoint, read_checkpoint(checkpoint)))
    return RunFacts(metrics, command, licence)


def _box_metrics(line: dict[str, Any]) -> dict[str, float]:
    metrics = {}
    for name in SHOWN:
        value: Any = line.get(f"bbox/{name}")
        if is_metric_value(value) and not math.isnan(float(value)):  # NaN: no box of that size
            metrics[name] = float(value)
    return metrics

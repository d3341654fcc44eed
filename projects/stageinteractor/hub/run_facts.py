"""What the folder of a run says about one of its checkpoints, for the model card."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from ..engine.weights import read_checkpoint
from ..json_files import is_metric_value, read_json_lines
from .card import RunFacts

SHOWN = ("AP", "AP50", "AP75", "APs", "APm", "APl")
METRICS = "metrics.json"


def facts_of(
    checkpoint: str | os.PathLike[str], command: str | None = None, licence: str | None = None
) -> RunFacts:
    """Return the metrics of a checkpoint's own evaluation, from ``metrics.json`` beside it.

    Args:
        checkpoint: of a run; metrics of other iterations of the run are not those of the model.

    Raises:
        DataError: the checkpoint or ``metrics.json`` cannot be read.
    """
    log = Path(checkpoint).parent / METRICS
    metrics: dict[str, float] = {}
    iterations = _iterations(checkpoint)
    if iterations and log.is_file():
        for _, line in read_json_lines(log, "remove the line to write a card without metrics"):
            if line.get("iteration") in iterations:
                metrics |= _box_metrics(line)
    return RunFacts(metrics, command, licence)


def _iterations(checkpoint: str | os.PathLike[str]) -> tuple[int, ...]:
    """Return the iteration numbers that ``metrics.json`` has for the weights of a checkpoint."""
    if Path(checkpoint).suffix == ".safetensors":
        return ()
    iteration = read_checkpoint(checkpoint).get("iteration")
    if not isinstance(iteration, int):
        return ()
    is_final = Path(checkpoint).name == "model_final.pth"  # evaluated after the last iteration
    return (iteration, iteration + 1) if is_final else (iteration,)


def _box_metrics(line: dict[str, Any]) -> dict[str, float]:
    metrics = {}
    for name in SHOWN:
        value: Any = line.get(f"bbox/{name}")
        if is_metric_value(value) and not math.isnan(float(value)):  # NaN: no box of that size
            metrics[name] = float(value)
    return metrics

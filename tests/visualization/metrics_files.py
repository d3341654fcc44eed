"""A ``metrics.json`` as a training writes it."""

import json
import math
from pathlib import Path
from typing import Any


def metrics_lines() -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = [
        {
            "iteration": i,
            "total_loss": 9 / (i + 1),
            "loss_class_9": 1.0,
            "loss_class_10": 2.0,
            "lr": 1e-4,
        }
        for i in range(0, 60, 20)
    ]
    return lines + [{"iteration": 59, "bbox/AP": 12.25, "bbox/AP50": 30.0, "bbox/APl": math.nan}]


def write_metrics(folder: Path) -> Path:
    path = folder / "metrics.json"
    path.write_text("".join(json.dumps(line) + "\n" for line in metrics_lines()))
    return path

"""The numbers of a finished run that a table of several runs shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..data.coco_format import read_coco
from ..errors import DataError
from .duplicates import duplicates_per_object
from .results import RESULTS_FILE, read_results

AFTER_NMS, GAP, DUPLICATES = "AP after NMS", "AP50-AP75", "duplicates"
UNSTABLE, ADDED = "unstable %", "labels added"
FURTHER = (AFTER_NMS, GAP, DUPLICATES, UNSTABLE, ADDED)
STABILITY_FILE = "unstable_score/unstable_score.json"  # in a run's folder


def read_measures(output_dir: str | Path) -> dict[str, float]:
    """Return COCO's numbers of a run's last evaluation, per cent, and those of `FURTHER` there are.

    AP after NMS is there with ``dataloader.evaluator.nms_threshold``, duplicates (an object, at IoU
    0.7 among the best 100 of an image) if the detections are kept, the unstable score (mean over
    the stages) and the labels added to an image (of all stages) after tools/unstable_score.py.

    Args:
        output_dir: ``train.output_dir`` of the run.

    Raises:
        DataError: the run has not been evaluated, or a file of it cannot be read.
    """
    folder = Path(output_dir)
    evaluation = (folder / RESULTS_FILE).parent
    found: dict[str, float] = _read(evaluation / "metrics.json")
    if not {"AP", "AP50", "AP75"} <= set(found):
        raise DataError(f"{evaluation}/metrics.json has no AP, AP50 and AP75: evaluate again")
    found[GAP] = found["AP50"] - found["AP75"]
    if (evaluation / "metrics_nms.json").is_file():
        found[AFTER_NMS] = _read(evaluation / "metrics_nms.json")["AP"]
    if (folder / RESULTS_FILE).is_file():
        truth = read_coco(evaluation / "ground_truth.json")
        found[DUPLICATES] = duplicates_per_object(truth, read_results(folder / RESULTS_FILE, truth))
    if (folder / STABILITY_FILE).is_file():
        runs = _read(folder / STABILITY_FILE)
        if len(runs) != 1:
            raise DataError(
                f"{folder / STABILITY_FILE} is of {len(runs)} runs, not of this one alone: remove "
                "it, and measure again"
            )
        (stability,) = runs.values()
        found[UNSTABLE] = stability["mean_unstable_score"]
        found[ADDED] = sum(stability["labels_added_per_image"])
    return found


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}; evaluate the run again") from error

"""The measures of finished runs, for tables that compare runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..data.coco_format import read_coco
from ..errors import DataError
from ..json_files import is_metric_value, kind_of, read_json
from .coco_results import RESULTS_FILE, read_results
from .duplicates import duplicates_per_object, missed_objects

AFTER_NMS, DIFFERENCE = "AP after NMS", "AP50-AP75"
DUPLICATES, LEADING, MISSED = "duplicates", "duplicates in first T", "missed %"
UNSTABLE, ADDED = "unstable %", "labels added"
FURTHER = (AFTER_NMS, DIFFERENCE, DUPLICATES, LEADING, MISSED, UNSTABLE, ADDED)
STABILITY_FILE = "unstable_score/unstable_score.json"  # in a run's folder


def read_measures(output_dir: str | Path) -> dict[str, float]:
    """Return COCO's numbers of a run's last evaluation, per cent, and available `FURTHER` ones.

    AP after NMS requires ``dataloader.evaluator.nms_threshold``. Duplicates (per object, at IoU 0.7
    among the best 100 of an image, and among as many as it has objects) and missed objects (at IoU
    0.5) require the file of detections; the unstable score (mean over stages) and the labels added
    per image (of all stages) require stageinteractor unstable-score.

    Raises:
        DataError: the run has not been evaluated, or one of its files cannot be read.
    """
    folder = Path(output_dir)
    evaluation = (folder / RESULTS_FILE).parent
    measures = _numbers(evaluation / "metrics.json", ("AP", "AP50", "AP75"))
    measures[DIFFERENCE] = measures["AP50"] - measures["AP75"]
    if (evaluation / "metrics_nms.json").is_file():
        measures[AFTER_NMS] = _numbers(evaluation / "metrics_nms.json", ("AP",))["AP"]
    if (folder / RESULTS_FILE).is_file():
        measures |= _counts(folder / RESULTS_FILE)
    if (folder / STABILITY_FILE).is_file():
        measures |= _stability(folder / STABILITY_FILE)
    return measures


def read_measures_after_nms(output_dir: str | Path) -> dict[str, float]:
    """Return AP, AP50, AP75, duplicates and missed objects of the detections that NMS keeps.

    Empty without ``dataloader.evaluator.nms_threshold``; arguments and errors as `read_measures`.
    """
    evaluation = (Path(output_dir) / RESULTS_FILE).parent
    if not (evaluation / "metrics_nms.json").is_file():
        return {}
    numbers = _numbers(evaluation / "metrics_nms.json", ("AP", "AP50", "AP75"))
    return numbers | _counts(evaluation / "coco_instances_results_nms.json")


def _counts(results_file: Path) -> dict[str, float]:
    """Return duplicates and missed objects of a file of detections beside its ground truth."""
    truth = read_coco(results_file.parent / "ground_truth.json")
    results = read_results(results_file, truth)
    return {
        DUPLICATES: duplicates_per_object(truth, results),
        LEADING: duplicates_per_object(truth, results, top=None),
        MISSED: missed_objects(truth, results),
    }


def _numbers(path: Path, needed: Sequence[str]) -> dict[str, float]:
    """Return the numbers of an evaluation's file."""
    advice = "evaluate the run again"
    numbers = read_json(path, dict, advice)
    missing = [name for name in needed if name not in numbers]
    if missing:
        raise DataError(f"{path} has no {', '.join(missing)}: {advice}")
    for name, value in numbers.items():
        if not is_metric_value(value):
            raise DataError(f"{path}: {name!r} is {kind_of(value)}, no number in range; {advice}")
    return numbers


def _stability(path: Path) -> dict[str, float]:
    """Return the results of stageinteractor unstable-score."""
    advice = "remove it, and measure again"
    runs = read_json(path, dict, advice)
    if len(runs) != 1:
        raise DataError(f"{path} has {len(runs)} runs, expected this one alone: {advice}")
    ((name, stability),) = runs.items()
    values = stability if isinstance(stability, dict) else {}
    mean, added = values.get("mean_unstable_score"), values.get("labels_added_per_image")
    if not isinstance(added, list) or not all(map(is_metric_value, [mean, *added])):
        needed = "mean_unstable_score and labels_added_per_image"
        raise DataError(f"{path}: {name!r} lacks the numbers {needed}: {advice}")
    return {UNSTABLE: float(values["mean_unstable_score"]), ADDED: sum(added)}

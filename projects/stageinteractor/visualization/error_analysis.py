"""Error analysis of a run or of a results file: error sheets, confusion matrix, PR curves, AP."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from tabulate import tabulate
from tqdm import tqdm

from ..config import load_config
from ..data.coco_format import CocoSet, read_coco
from ..data.image_store import exists
from ..errors import DataError
from ..evaluation.coco import TWELVE, choose_backend, coco_api, evaluate_boxes
from ..evaluation.coco_results import RESULTS_FILE, read_results
from ..evaluation.confusion_matrix import confusion_matrix, most_confused
from ..evaluation.error_types import ERROR_TYPES, classify_detections, summarize_errors
from ..evaluation.evaluated_set import read_evaluated_set
from ..evaluation.score_thresholds import score_curves
from ..files import atomic_path, atomic_write_text
from ..output_folder import OutputFolder
from .confusion_plot import plot_confusion
from .error_sheet import error_sheet
from .pr_curves import plot_class_ap, plot_precision_recall
from .score_plot import plot_score_curves

Json = dict[str, Any]
SHEETS = {name: f"errors_{name}.jpg" for name in ERROR_TYPES if name != "correct"}
WRITTEN = (
    *SHEETS.values(),
    *("errors.json", "confusion.png", "precision_recall.png", "ap_per_class.png"),
    "score_thresholds.png",
)


@dataclass(frozen=True)
class Detections:
    """Detections of an annotated set."""

    coco_set: CocoSet
    image_root: str  # see `data.image_store`
    results: list[Json]  # COCO's results format


def read_detections(
    json_file: str | Path, image_root: str | Path, results: str | Path
) -> Detections:
    """Read detections from files.

    Raises:
        DataError: a file or folder is missing or cannot be used.
    """
    coco_set = read_coco(json_file)
    if not exists(image_root):
        raise DataError(f"{image_root}: no such folder of images")
    return Detections(coco_set, str(image_root), read_results(results, coco_set))


def read_run(folder: str | Path) -> Detections:
    """Read the detections of a run's last evaluation, with the images that it evaluated.

    These are the images of ``dataset.val`` unless the evaluation was given another set.

    Raises:
        DataError: the run has no detections, or its data set has moved.
    """
    cfg = load_config(Path(folder) / "config.yaml", trust=True)  # nothing is built
    results = Path(folder) / RESULTS_FILE
    evaluated = read_evaluated_set(results.parent)
    if evaluated is not None:
        detections = read_detections(evaluated.json, evaluated.images, results)
        return only_images(detections, set(evaluated.image_ids))
    val = cfg.dataset.val
    detections = read_detections(val.json, val.images, results)
    if OmegaConf.select(
        cfg, "train.fast_dev_run.enabled", default=False
    ):  # few images were evaluated
        return only_images(detections, {each["image_id"] for each in detections.results})
    return detections


def only_images(detections: Detections, ids: set[int | str]) -> Detections:
    """Return the part of a set and its detections that belongs to some images."""
    coco_set = detections.coco_set
    kept = CocoSet(
        coco_set.json_file,
        [image for image in coco_set.images if image["id"] in ids],
        [entry for entry in coco_set.annotations if entry["image_id"] in ids],
        coco_set.categories,
    )
    results = [each for each in detections.results if each["image_id"] in ids]
    return Detections(kept, detections.image_root, results)


def write_results(
    detections: Detections, output: str | Path, min_score: float = 0.3, count: int = 12
) -> str:
    """Write figures and counts into a folder; return a table of the counts.

    Written are a sheet ``errors_TYPE.jpg`` for every error type that occurs, ``errors.json``,
    ``confusion.png``, and, if there is ground truth, ``precision_recall.png``,
    ``ap_per_class.png`` and ``score_thresholds.png``. Sheets of an earlier call whose type no
    longer occurs are removed.

    Args:
        min_score: lowest score on the sheets and in the counts; AP is that of all detections.

    Raises:
        OutputError: the folder has a file of one of these names that this function did not write.
    """
    folder = OutputFolder(output)
    folder.check(WRITTEN)
    coco_set, results = detections.coco_set, detections.results
    outcomes = classify_detections(coco_set, results, min_score)
    for error_type, name in tqdm(SHEETS.items(), unit="sheet", leave=False):
        image_root = detections.image_root
        sheet = error_sheet(coco_set, image_root, outcomes, error_type, min_score, count)
        if sheet is None:
            folder.remove(name)
            continue
        with atomic_path(folder.path(name)) as temporary:
            sheet.save(temporary, quality=90, subsampling=0)
    matrix = confusion_matrix(coco_set, results, min_score)
    plot_confusion(matrix, coco_set.class_names, min_score, folder.path("confusion.png"))
    summary = summarize_errors(coco_set, outcomes, min_score)
    summary["ap"] = _plot_ap(detections, folder)
    summary["confusion"] = {"classes": coco_set.class_names, "counts": matrix.tolist()}
    summary["most_confused"] = most_confused(matrix, coco_set.class_names)
    atomic_write_text(folder.path("errors.json"), json.dumps(summary))
    return errors_table(summary)


def _plot_ap(detections: Detections, folder: OutputFolder) -> dict[str, float]:
    """Evaluate all detections and draw the curves; return AP, AP50 and AP75, per cent."""
    coco_set = detections.coco_set
    counts = Counter(a["category_id"] for a in coco_set.annotations if not a["iscrowd"])
    if not counts:
        return {}
    ids = [image["id"] for image in coco_set.images]
    backend = choose_backend("auto")
    evaluation = evaluate_boxes(coco_api(coco_set), detections.results, ids, backend)
    names = coco_set.class_names
    plot_precision_recall(evaluation, names, folder.path("precision_recall.png"))
    curves = score_curves(coco_set, detections.results)
    categories = coco_set.names_of_categories
    plot_score_curves(curves, categories, folder.path("score_thresholds.png"))
    objects = [counts[category] for category in categories]
    plot_class_ap(evaluation, names, objects, folder.path("ap_per_class.png"))
    return {
        name: 100.0 * float(value)
        for name, value in zip(TWELVE[:3], evaluation.stats[:3], strict=True)
    }


def errors_table(summary: Mapping[str, Any]) -> str:
    """Return the counts of ``errors.json`` as text, a row for each type."""
    rows = []
    for error_type, count in summary["types"].items():
        of = "objects" if error_type == "Miss" else "detections"
        share = f"{100 * count / max(summary[of], 1):.1f} % of {of}"
        rows.append([error_type, count, share, ERROR_TYPES[error_type]])
    head = (
        f"{summary['images']} images, {summary['objects']} objects, {summary['detections']} "
        f"detections with a score of at least {summary['min_score']:g}"
    )
    ap = ", ".join(f"{name} {value:.1f}" for name, value in summary["ap"].items())
    table = tabulate(
        rows,
        headers=["type", "number", "share", "meaning"],
        tablefmt="simple",
        disable_numparse=True,
        colalign=("left", "right", "right", "left"),
    )
    text = f"{head}{'; ' if ap else ''}{ap}\n\n{table}"
    if summary["most_confused"]:
        pairs = [f"{true} for {wrong} ({n})" for true, wrong, n in summary["most_confused"]]
        text += f"\n\nmost frequent confusions: {', '.join(pairs)}"
    return text

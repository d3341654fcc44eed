"""Everything that shows what a detector gets right and wrong, for a run or for a results file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate
from tqdm import tqdm

from ..config import load_config
from ..data.coco_format import CocoSet, read_coco
from ..errors import DataError
from ..evaluation.coco import TWELVE, choose_backend, coco_api, evaluate_boxes
from ..evaluation.confusion import confusion_matrix, most_confused
from ..evaluation.errors_by_kind import KINDS, find_errors, summarize_errors
from ..evaluation.evaluated_set import read_evaluated_set
from ..evaluation.results import RESULTS_FILE, read_results
from ..files import atomic_path, atomic_write_text
from ..output_folder import OutputFolder
from .confusion import plot_confusion
from .errors import error_sheet
from .pr_curves import plot_class_ap, plot_precision_recall

Json = dict[str, Any]
SHEETS = {kind: f"{kind}.jpg" for kind in KINDS if kind != "correct"}
WRITTEN = (
    *SHEETS.values(),
    *("errors.json", "confusion.png", "precision_recall.png", "ap_per_class.png"),
)


@dataclass(frozen=True)
class Detections:
    """Detections of an annotated set."""

    coco_set: CocoSet
    image_root: Path
    results: list[Json]  # COCO's results format


def read_detections(
    json_file: str | Path, image_root: str | Path, results: str | Path
) -> Detections:
    """Read detections from files.

    Raises:
        DataError: a file or folder is missing or cannot be used.
    """
    coco_set = read_coco(json_file)
    if not Path(image_root).is_dir():
        raise DataError(f"{image_root}: no such folder of images")
    return Detections(coco_set, Path(image_root), read_results(results, coco_set))


def read_run(folder: str | Path) -> Detections:
    """Read the last detections of a run, on the images that they are of.

    Those are of ``dataset.val``, unless the last evaluation was given others.

    Raises:
        DataError: the run has no detections, or its data set is not where it was.
    """
    cfg = load_config(Path(folder) / "config.yaml", trust=True)  # nothing is built
    results = Path(folder) / RESULTS_FILE
    evaluated = read_evaluated_set(results.parent)
    if evaluated is not None:
        detections = read_detections(evaluated.json, evaluated.images, results)
        return only_images(detections, set(evaluated.image_ids))
    val = cfg.dataset.val
    detections = read_detections(val.json, val.images, results)
    if cfg.get("train", {}).get("fast_dev_run"):  # few images were evaluated
        return only_images(detections, {each["image_id"] for each in detections.results})
    return detections


def only_images(detections: Detections, ids: set[int | str]) -> Detections:
    """Return the same for some of the images."""
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
    found: Detections, output: str | Path, min_score: float = 0.3, count: int = 12
) -> str:
    """Write pictures and counts into a folder; return a table of the counts.

    Written are a sheet ``KIND.jpg`` for every kind of error there is, ``errors.json``,
    ``confusion.png``, and, if there is anything to measure, ``precision_recall.png`` and
    ``ap_per_class.png``. A sheet of an earlier call whose kind is gone is removed.

    Args:
        found: what to look at.
        output: the folder.
        min_score: of the detections on the sheets and in the counts; AP is of all.
        count: images on a sheet.

    Raises:
        OutputError: a file of the user's own has one of these names in the folder.
    """
    folder = OutputFolder(output)
    folder.check(WRITTEN)
    coco_set = found.coco_set
    errors = find_errors(coco_set, found.results, min_score)
    for kind, name in tqdm(SHEETS.items(), unit="sheet", leave=False):
        sheet = error_sheet(coco_set, found.image_root, errors, kind, min_score, count)
        if sheet is None:
            folder.remove(name)
            continue
        with atomic_path(folder.path(name)) as temporary:
            sheet.save(temporary, quality=90, subsampling=0)
    matrix = confusion_matrix(coco_set, found.results, min_score)
    plot_confusion(matrix, coco_set.class_names, min_score, folder.path("confusion.png"))
    summary = summarize_errors(coco_set, errors, min_score) | {"ap": _plot_ap(found, folder)}
    summary["confusion"] = {"classes": coco_set.class_names, "counts": matrix.tolist()}
    summary["most_confused"] = most_confused(matrix, coco_set.class_names)
    atomic_write_text(folder.path("errors.json"), json.dumps(summary))
    return errors_table(summary)


def _plot_ap(found: Detections, folder: OutputFolder) -> dict[str, float]:
    """Draw what the evaluation of all detections gives; return AP, AP50 and AP75, per cent."""
    counts = Counter(a["category_id"] for a in found.coco_set.annotations if not a["iscrowd"])
    if not counts:
        return {}
    ids = [image["id"] for image in found.coco_set.images]
    backend = choose_backend("auto")
    evaluation = evaluate_boxes(coco_api(found.coco_set), found.results, ids, backend)
    names = found.coco_set.class_names
    plot_precision_recall(evaluation, names, folder.path("precision_recall.png"))
    objects = [counts[category] for category in found.coco_set.names_of_categories]
    plot_class_ap(evaluation, names, objects, folder.path("ap_per_class.png"))
    return {
        name: 100.0 * float(value)
        for name, value in zip(TWELVE[:3], evaluation.stats[:3], strict=True)
    }


def errors_table(summary: Mapping[str, Any]) -> str:
    """Return the counts of ``errors.json`` as text, a row a kind."""
    rows = []
    for kind, count in summary["kinds"].items():
        of = "objects" if kind == "missed" else "detections"
        share = f"{100 * count / max(summary[of], 1):.1f} % of {of}"
        rows.append([kind.replace("_", " "), count, share, KINDS[kind]])
    head = (
        f"{summary['images']} images, {summary['objects']} objects, {summary['detections']} "
        f"detections with a score of at least {summary['min_score']:g}"
    )
    ap = ", ".join(f"{name} {value:.1f}" for name, value in summary["ap"].items())
    table = tabulate(
        rows,
        headers=["kind", "number", "share", "what it means"],
        tablefmt="simple",
        disable_numparse=True,
        colalign=("left", "right", "right", "left"),
    )
    text = f"{head}{'; ' if ap else ''}{ap}\n\n{table}"
    if summary["most_confused"]:
        pairs = [f"{true} for {wrong} ({n})" for true, wrong, n in summary["most_confused"]]
        text += f"\n\nmost often taken for another class: {', '.join(pairs)}"
    return text

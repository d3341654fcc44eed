"""Detections in COCO's results format: read from a file, checked against a set, grouped."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from ..data.coco_format import CocoSet
from ..data.values import is_number
from ..errors import DataError
from ..json_files import read_json

Json = dict[str, Any]
RESULTS_FILE = "evaluation/coco_instances_results.json"  # of a run, in train.output_dir
FIELDS = ("image_id", "category_id", "bbox", "score")


def read_results(path: str | os.PathLike[str], coco_set: CocoSet) -> list[Json]:
    """Return the detections of a file such as ``coco_instances_results.json``.

    Args:
        path: a list of {"image_id", "category_id", "bbox": (x, y, w, h) pixels, "score"}.
        coco_set: the set that all images and categories must belong to.

    Raises:
        DataError: no such file, not such a list, or an image or category that is not in the set.
    """
    advice = "let the training finish, or run --eval-only"
    results = read_json(path, list, advice, "a list of detections in COCO's results format")
    images = {image["id"] for image in coco_set.images}
    categories = set(coco_set.class_of_category)
    for position, result in enumerate(results):
        fault = _fault(result, images, categories, coco_set.json_file)
        if fault is not None:
            raise DataError(f"{path}: detection number {position} (from 0) {fault}")
    return results


def _fault(result: Any, images: set[Any], categories: set[Any], json_file: str) -> str | None:
    if not isinstance(result, dict) or any(name not in result for name in FIELDS):
        return f"is not an object with {', '.join(FIELDS)}"
    box = result["bbox"]
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        return f"has bbox {box!r}: expected four finite numbers x, y, width, height"
    if not is_number(result["score"]):
        return f"has score {result['score']!r}: expected a finite number"
    for name, ids in (("image_id", images), ("category_id", categories)):
        if isinstance(result[name], list | dict) or result[name] not in ids:
            return f"has {name} {result[name]!r}, which {json_file} does not list: wrong set?"
    return None


def group_by_image(entries: Iterable[Json]) -> defaultdict[Any, list[Json]]:
    """Return annotations or detections in lists by "image_id", in their order."""
    groups = defaultdict(list)
    for entry in entries:
        groups[entry["image_id"]].append(entry)
    return groups

"""Read a COCO-format annotation file for training, evaluation and drawing.

In: a JSON file. Out: a `CocoSet`, whose boxes can all be trained on. What `checks` calls fatal
raises one `DataError` with file and id; single boxes that cannot be used are left out and reported
in one warning.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..errors import DataError
from .checks.annotations import box_kind, check_fields
from .checks.entries import check_entries, distinct_names
from .checks.findings import ERROR, KINDS
from .checks.remarks import check_box_format
from .coco_json import Json, read_coco_json
from .segmentation import usable_mask

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CocoSet:
    """A checked annotation file."""

    json_file: str
    images: list[Json]
    annotations: list[Json]  # with "area" and "iscrowd"; boxes (x, y, w, h) in pixels
    categories: list[Json]  # by class index: sorted by id, or as a run recorded them

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, no two equal; a class's index is its position here."""
        return list(self.names_of_categories.values())

    @property
    def class_of_category(self) -> dict[int, int]:
        """Map category ids of the file, which may have gaps, to class indices."""
        return {category["id"]: index for index, category in enumerate(self.categories)}

    @property
    def names_of_categories(self) -> dict[int, str]:
        """Map category ids of the file to names; see `distinct_names`."""
        return distinct_names({each["id"]: each["name"] for each in self.categories})

    def as_json(self) -> Json:
        """Return the content in COCO's own layout."""
        return {
            "images": self.images,
            "annotations": self.annotations,
            "categories": self.categories,
        }


def read_coco(json_file: str | os.PathLike[str], key: str = "json", masks: bool = False) -> CocoSet:
    """Read and check an annotation file.

    Ids such as 1.0 become integers. Annotations without a box get that of their segmentation.

    Args:
        key: config key that the path came from, for messages.
        masks: annotations without a usable segmentation (polygons or RLE) are left out too.

    Raises:
        DataError: the file is missing, is not COCO JSON, has a problem whose kind in `KINDS`
            stops training, or masks are asked for and it has none.
    """
    where = f"{json_file} ({key})"
    content = read_coco_json(json_file, key)
    entries, findings = check_entries(content)
    findings += check_fields(entries)
    findings += check_box_format(entries)
    fatal = [f for f in findings if KINDS[f.kind].stops_training and f.kind != "no_images"]
    if fatal:
        count = len(fatal) - 1
        more = f"; {count} more problem{'s' * (count > 1)}: see stageinteractor check"
        raise DataError(f"{where}: {fatal[0].line()}{more if count else ''}")
    _fill_ids(entries.annotations)
    return CocoSet(
        json_file=str(json_file),
        images=entries.images,
        annotations=_usable(entries.annotations, entries.image_of, where, masks),
        categories=sorted(entries.categories, key=lambda category: category["id"]),
    )


def _fill_ids(annotations: list[Json]) -> None:
    """Give annotations without an id one that no other has."""
    taken = {annotation["id"] for annotation in annotations if "id" in annotation}
    free = (number for number in itertools.count(1) if number not in taken)
    for annotation in annotations:
        if "id" not in annotation:
            annotation["id"] = next(free)


def _usable(
    annotations: list[Json], image_of: dict[Any, Json], where: str, masks: bool
) -> list[Json]:
    """Return the annotations with a usable box, and mask; report the others in one warning."""
    kept: list[Json] = []
    unusable: dict[str, list[Any]] = defaultdict(list)
    for annotation in annotations:
        problem = _problem(annotation, image_of[annotation["image_id"]], masks)
        if problem is not None:
            unusable[problem].append(annotation["id"])
            continue
        _, _, width, height = annotation["bbox"]
        annotation.setdefault("area", width * height)
        annotation.setdefault("iscrowd", 0)
        kept.append(annotation)
    if unusable:
        parts = [
            f"{len(ids)} x {name} (annotation id {_some(ids)})" for name, ids in unusable.items()
        ]
        logger.warning("%s: left out unusable boxes: %s", where, "; ".join(parts))
    if masks and annotations and not kept:
        raise DataError(
            f"{where}: no annotation has a usable mask: add polygons or RLE as 'segmentation', or "
            "set dataset.masks=false"
        )
    return kept


def _problem(annotation: Json, image: Json, masks: bool) -> str | None:
    """Return why an annotation is left out; put a usable mask into the form of `usable_mask`."""
    kind = box_kind(annotation["bbox"], image["width"], image["height"])
    if kind is not None and KINDS[kind].severity == ERROR:
        return KINDS[kind].name
    if masks:
        outline = annotation.get("segmentation")
        annotation["segmentation"] = usable_mask(outline, image["height"], image["width"])
        if annotation["segmentation"] is None:
            return "no usable mask"
    return None


def _some(values: list[Any], limit: int = 5) -> str:
    shown = ", ".join(map(repr, values[:limit]))
    return f"{shown}, and {len(values) - limit} more" if len(values) > limit else shown


def in_order(ids: Iterable[int | str]) -> list[int | str]:
    """Return ids sorted, numbers before texts."""
    return sorted(ids, key=lambda value: (isinstance(value, str), value))

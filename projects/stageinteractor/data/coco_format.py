"""Read a COCO-format annotation file, check it, and hand it to detectron2.

In: a JSON file and a folder of images. Out: a `CocoSet`, whose boxes can all be trained on, and
detectron2's registration of it. What cannot be used at all raises one `DataError` with file and id;
single boxes that cannot be used are left out and reported in one warning.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..regular_files import GIB
from .box_checks import box_fault
from .distinct_names import distinct_names
from .ids import with_whole_ids
from .segmentation import with_box
from .text_files import read_text
from .values import is_number, is_writable

logger = logging.getLogger(__name__)
Json = dict[str, Any]
MAX_BYTES = 8 * GIB  # of a JSON file: COCO's have 0.5 GB, Objects365's some 5 GB


@dataclass(frozen=True)
class CocoSet:
    """A checked annotation file."""

    json_file: str
    images: list[Json]
    annotations: list[Json]  # with "area" and "iscrowd"; boxes (x, y, w, h) in pixels
    categories: list[Json]  # sorted by id

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


def read_coco(json_file: str | os.PathLike[str], key: str = "json") -> CocoSet:
    """Read and check an annotation file.

    Ids that are whole are integers, also where the file has 1.0. Annotations without a box get that
    of their segmentation.

    Args:
        json_file: path of the file.
        key: config key that the path came from, for messages.

    Raises:
        DataError: the file is missing, is not COCO JSON, repeats an id, refers to an image or
            category that it does not list, or has a size, area or iscrowd that cannot be.
    """
    content = read_json_object(Path(json_file), key)
    where = f"{json_file} ({key})"
    images, categories = _entries(content, "images", where), _entries(content, "categories", where)
    annotations = [with_box(entry) for entry in _entries(content, "annotations", where)]
    _require_fields(images, ("id", "file_name", "height", "width"), "image", where)
    _require_fields(categories, ("id", "name"), "category", where)
    _require_fields(annotations, ("image_id", "category_id", "bbox"), "annotation", where)
    _require_type(images, "file_name", "a text", "image", where)
    _require_type(images, "id", "a number or text", "image", where)
    _require_type(categories, "id", "a number", "category", where)
    _require_writable_names(categories, where)
    _require_type(annotations, "id", "a number or text", "annotation", where)
    for image in images:
        if not all(is_number(image[side]) and image[side] > 0 for side in ("width", "height")):
            raise DataError(
                f"{where}: image id {image['id']!r}: width and height must be positive numbers"
            )
    _fill_ids(annotations)
    _require_measurable(annotations, where)
    for kind, entries in (("image", images), ("category", categories), ("annotation", annotations)):
        _require_unique_ids(entries, kind, where)
    if not categories:
        raise DataError(f"{where}: 'categories' is empty: list at least one class")
    _require_known(annotations, "category_id", categories, "categories", where)
    _require_known(annotations, "image_id", images, "images", where)
    return CocoSet(
        json_file=str(json_file),
        images=images,
        annotations=_usable(annotations, images, where),
        categories=sorted(categories, key=lambda category: category["id"]),
    )


def read_json_object(path: Path, key: str) -> Json:
    """Return the object that a JSON file holds; ``key`` says in messages where the path is set.

    Raises:
        DataError: there is no such file, it cannot be read now, is no regular file, is not JSON in
            UTF-8, or holds something else.
    """
    missing = f"no such file; set {key} to a COCO-format JSON file"
    try:
        content = json.loads(read_text(path, MAX_BYTES, f"{path} ({key})", missing))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} ({key}) is not readable as JSON: {error}") from error
    except MemoryError:
        raise DataError(f"{path} ({key}): there is not enough memory to read it") from None
    if not isinstance(content, dict):
        raise DataError(f"{path} ({key}): expected an object with 'images' and 'categories'")
    return content


def _entries(content: Json, name: str, where: str) -> list[Json]:
    entries = content.get(name)
    if not isinstance(entries, list):
        raise DataError(f"{where}: no list {name!r}; it must hold images, annotations, categories")
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise DataError(f"{where}: number {position} of {name!r} is no object: {entry!r}")
    return [with_whole_ids(dict(entry)) for entry in entries]


def _require_fields(entries: list[Json], names: tuple[str, ...], kind: str, where: str) -> None:
    for position, entry in enumerate(entries):
        missing = [name for name in names if name not in entry]
        if missing:
            label = f"{kind} id {entry['id']!r}" if "id" in entry else f"{kind} number {position}"
            raise DataError(f"{where}: {label} lacks {', '.join(missing)}")


def _require_type(entries: list[Json], field: str, wanted: str, kind: str, where: str) -> None:
    types = {"a text": str, "a number": int, "a number or text": int | str}
    for position, entry in enumerate(entries):
        if field in entry and not _is_a(entry[field], types[wanted]):
            raise DataError(
                f"{where}: {kind} number {position} has {field} {entry[field]!r}: expected {wanted}"
            )


def _is_a(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _require_writable_names(categories: list[Json], where: str) -> None:
    """Refuse halves of a character that JSON can hold, but no file, terminal or picture."""
    for category in categories:
        if not is_writable(category["name"]):
            told = f"category id {category['id']!r} has name {category['name']!r}"
            raise DataError(f"{where}: {told}, which cannot be written: rename it")


def _fill_ids(annotations: list[Json]) -> None:
    """Give annotations without an id one that no other has."""
    taken = {annotation["id"] for annotation in annotations if "id" in annotation}
    free = (number for number in itertools.count(1) if number not in taken)
    for annotation in annotations:
        if "id" not in annotation:
            annotation["id"] = next(free)


def _require_measurable(annotations: list[Json], where: str) -> None:
    """Refuse what would drop objects silently, or end the evaluation after a whole training."""
    expected = {"area": "a number", "iscrowd": "0 or 1"}
    for annotation in annotations:
        fine = {
            "area": is_number(annotation.get("area", 0)),
            "iscrowd": annotation.get("iscrowd", 0) in (0, 1),
        }
        for field, is_fine in fine.items():
            if not is_fine:
                raise DataError(
                    f"{where}: annotation id {annotation['id']!r} has {field} "
                    f"{annotation[field]!r}: expected {expected[field]}, or leave it out"
                )


def _require_unique_ids(entries: list[Json], kind: str, where: str) -> None:
    repeated = [entry for entry, count in Counter(e["id"] for e in entries).items() if count > 1]
    if repeated:
        raise DataError(f"{where}: {kind} id {_some(repeated)} used more than once; make it unique")


def _require_known(
    annotations: list[Json], field: str, entries: list[Json], name: str, where: str
) -> None:
    known = {entry["id"] for entry in entries}
    for annotation in annotations:
        value = annotation[field]
        is_id = isinstance(value, Hashable) and not isinstance(value, bool)  # True equals 1
        if not is_id or value not in known:
            raise DataError(
                f"{where}: annotation id {annotation['id']!r} has {field} {value!r}, "
                f"which is not in {name!r} (ids {_some(in_order(known))}); add it there or "
                "remove the annotation"
            )


def in_order(ids: Iterable[int | str]) -> list[int | str]:
    """Return ids sorted, numbers before texts."""
    return sorted(ids, key=lambda value: (isinstance(value, str), value))


def _usable(annotations: list[Json], images: list[Json], where: str) -> list[Json]:
    """Return the annotations with a usable box; tell in one warning what was left out and why."""
    sizes = {image["id"]: (image["width"], image["height"]) for image in images}
    kept: list[Json] = []
    faults: dict[str, list[Any]] = defaultdict(list)
    for annotation in annotations:
        fault = box_fault(annotation["bbox"], *sizes[annotation["image_id"]])
        if fault is not None:
            faults[fault].append(annotation["id"])
            continue
        _, _, width, height = annotation["bbox"]
        kept.append({"area": width * height, "iscrowd": 0} | annotation)
    if faults:
        parts = [f"{len(ids)} {name} (annotation id {_some(ids)})" for name, ids in faults.items()]
        logger.warning("%s: left out unusable boxes: %s", where, "; ".join(parts))
    return kept


def _some(values: list[Any], limit: int = 5) -> str:
    shown = ", ".join(map(repr, values[:limit]))
    return f"{shown}, and {len(values) - limit} more" if len(values) > limit else shown

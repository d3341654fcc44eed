"""Read an annotation file: a JSON object with COCO's three lists, whoever wrote it."""

from __future__ import annotations

import json
import os
from typing import Any

from ..errors import DataError
from ..regular_files import GIB
from .text_files import read_text

Json = dict[str, Any]
MAX_BYTES = 8 * GIB  # of a JSON file: COCO's have 0.5 GB, Objects365's some 5 GB
LISTS = ("images", "annotations", "categories")
FEDERATED = "not_exhaustive_category_ids"  # classes of which an image has unlabelled objects
INTEGER_FIELDS = ("id", "image_id", "category_id", "iscrowd")


def read_coco_json(json_file: str | os.PathLike[str], key: str) -> Json:
    """Read a JSON file that has COCO's three lists; ids such as 1.0 become integers.

    Args:
        key: name of the config key or argument that the path came from, for messages.

    Raises:
        DataError: there is no such file, it cannot be read now, is not a regular file, is not JSON
            in UTF-8, lacks a list, or is annotated for some classes only (LVIS).
    """
    name = f"{os.fspath(json_file)} ({key})"
    missing = f"no such file; set {key} to a COCO-format JSON file"
    try:
        content = json.loads(read_text(json_file, MAX_BYTES, name, missing))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} is not readable as JSON: {error}") from error
    except MemoryError:
        raise DataError(f"{name}: there is not enough memory to read it") from None
    if not isinstance(content, dict):
        raise DataError(f"{name}: expected an object with the lists {', '.join(LISTS)}")
    for each in LISTS:
        if not isinstance(content.get(each), list):
            raise DataError(f"{name}: no list {each!r}; is this COCO's detection format?")
        content[each] = [_with_integers(entry) for entry in content[each]]
    _refuse_federated(content, name)
    return content


def _refuse_federated(content: Json, name: str) -> None:
    """Raise DataError for LVIS's files, whose images are annotated for some classes only."""
    if any(isinstance(image, dict) and FEDERATED in image for image in content["images"]):
        raise DataError(
            f"{name}: images with {FEDERATED!r}, as LVIS has them, are not annotated for all "
            "classes: objects of the others would count as background in training and as errors "
            "in evaluation. Use a set that is annotated for all its classes"
        )


def _with_integers(entry: Any) -> Any:
    """Return an entry whose ids are integers where they are whole; some tools write 1.0."""
    if not isinstance(entry, dict):
        return entry
    integers = {
        field: int(entry[field])
        for field in INTEGER_FIELDS
        if isinstance(entry.get(field), float) and entry[field].is_integer()
    }
    return entry | integers if integers else entry

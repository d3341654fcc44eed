"""Repair an annotation file in the order that each step needs what the one before left.

`repair` changes a copy; `write_repaired` puts it beside the old file.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from ...files import atomic_write_text
from .boxes import form_of
from .changes import Change, ChangeLog
from .entries import check_entries
from .findings import Json
from .image_files import ImageFile
from .repair_boxes import repair_boxes, repair_fields, repair_form
from .repair_entries import (
    complete_boxes,
    drop_strangers,
    join_files,
    keep_whole,
    name_categories,
    number_annotations,
    settle_ids,
)
from .repair_images import correct_sizes, drop_unreadable, fill_sizes, rename_images


def repair(content: Json, root: Path, files: dict[Path, ImageFile]) -> tuple[Json, list[Change]]:
    """Return a repaired copy of an annotation file, and every change.

    Only what a check reports is changed. Warnings that are up to the user stay: more objects than
    queries, EXIF rotation that the sizes take into account, unused or like-named categories.

    Args:
        content: the parsed JSON; it stays as it is.
        root: folder of the images.
        files: what `read_image_files` gave, by path.
    """
    log = ChangeLog()
    form = form_of(check_entries(content)[0])
    images = keep_whole("images", content["images"], log)
    categories = keep_whole("categories", content["categories"], log)
    annotations = keep_whole("annotations", complete_boxes(content["annotations"], log), log)
    rename_images(images, root, files, log)
    images, annotations = settle_ids("images", images, annotations, log)
    categories, annotations = settle_ids("categories", categories, annotations, log)
    name_categories(categories, log)
    annotations = drop_strangers(images, categories, annotations, log)
    images = join_files(images, annotations, log)
    images, annotations = drop_unreadable(images, annotations, root, files, log)
    fill_sizes(images, root, files, log)
    repair_form(form, images, annotations, log)
    correct_sizes(images, annotations, root, files, log)
    annotations = repair_boxes(images, annotations, log)
    repair_fields(annotations, log)
    number_annotations(annotations, log)
    lists = {"images": images, "annotations": annotations, "categories": categories}
    return content | lists, log.changes


def repaired_paths(json_file: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Return the paths of a repaired annotation file and of the list of its changes."""
    old = Path(json_file)
    return old.with_name(f"{old.stem}.fixed.json"), old.with_name(f"{old.stem}.fixed.txt")


def write_repaired(
    json_file: str | os.PathLike[str], content: Json, changes: list[Change]
) -> tuple[Path, Path]:
    """Write ``NAME.fixed.json`` and the list of changes ``NAME.fixed.txt`` beside a file.

    Returns:
        The two paths; the old file stays as it is.
    """
    new, told = repaired_paths(json_file)
    atomic_write_text(new, json.dumps(content))
    atomic_write_text(told, "".join(f"{change.line()}\n" for change in changes))
    return new, told

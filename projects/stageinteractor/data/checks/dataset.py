"""All checks of `stageinteractor check`, in one call: `check_dataset`.

Training validates with `coco_format.read_coco`, which uses the same `KINDS`.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import DataError
from ..coco_json import read_coco_json
from .annotations import box_kind, check_boxes, check_fields
from .entries import Entries, check_entries, is_size, is_usable
from .findings import ERROR, KINDS, SET, WARNING, Finding, Json, Location
from .image_files import ImageFile, check_image_files, read_images_of
from .remarks import remarks


@dataclass(frozen=True)
class CheckedSet:
    """The findings about a set, and its size.

    Args:
        findings: errors first, kind by kind in the order of `KINDS`.
        class_counts: objects of every class, by name, in the order of the file.
        box_sizes: (width, height) of every usable box, pixels.
    """

    findings: list[Finding]
    num_images: int
    num_annotations: int
    num_crowds: int
    num_empty_images: int
    class_counts: dict[str, int]
    box_sizes: list[tuple[float, float]]

    @property
    def num_errors(self) -> int:
        """Return the number of findings that are errors."""
        return sum(finding.severity == ERROR for finding in self.findings)

    @property
    def num_warnings(self) -> int:
        """Return the number of findings that are warnings."""
        return len(self.findings) - self.num_errors


def read_set(
    json_file: str | os.PathLike[str], image_root: str | os.PathLike[str], progress: bool = True
) -> tuple[Json, dict[Path, ImageFile]]:
    """Read an annotation file and the image files that it names.

    Returns:
        The parsed JSON, and what reading each file gave, by path.

    Raises:
        DataError: the annotation file cannot be used at all, or there is no such folder, or the
            machine cannot read a file now.
    """
    content, root = read_coco_json(json_file, "JSON"), Path(image_root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give the folder that the file_names start from")
    images = [image for image in content["images"] if is_usable("images", image)]
    return content, read_images_of([image["file_name"] for image in images], root, progress)


def check_content(
    content: Json,
    root: Path,
    files: dict[Path, ImageFile],
    num_queries: int = 100,
    json_file: str | os.PathLike[str] | None = None,
) -> CheckedSet:
    """Check an annotation file against its images, both read by `read_set`.

    Args:
        content, files: what `read_set` returned for the folder ``root``.
        json_file: names the set in findings about it as a whole.
    """
    entries, findings = check_entries(content)
    findings += check_boxes(entries)
    findings += check_fields(entries)
    findings += check_image_files(entries, root, files)
    findings += remarks(entries, num_queries)
    if json_file is not None:
        location = Location(entry=os.fspath(json_file))
        findings = [replace(f, location=location) if f.location == SET else f for f in findings]
    order = list(KINDS)
    severities = (ERROR, WARNING)
    findings.sort(key=lambda f: (severities.index(f.severity), order.index(f.kind)))
    objects = Counter(annotation["image_id"] for annotation in entries.annotations)
    return CheckedSet(
        findings=findings,
        num_images=len(entries.images),
        num_annotations=len(entries.annotations),
        num_crowds=sum(bool(a.get("iscrowd")) for a in entries.annotations),
        num_empty_images=sum(image_id not in objects for image_id in entries.image_of),
        class_counts=entries.class_counts,
        box_sizes=_box_sizes(entries),
    )


def check_dataset(
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    num_queries: int = 100,
    progress: bool = True,
) -> CheckedSet:
    """Check a COCO-format set: annotation file, boxes and image files.

    Args:
        image_root: folder that the file names start from.
        num_queries: images with more objects than so many are reported.

    Raises:
        DataError: the annotation file cannot be used at all, or there is no such folder, or the
            machine cannot read a file now.
    """
    content, files = read_set(json_file, image_root, progress)
    return check_content(content, Path(image_root), files, num_queries, json_file)


def _box_sizes(entries: Entries) -> list[tuple[float, float]]:
    sizes: list[tuple[float, float]] = []
    for annotation in entries.annotations:
        image, box = entries.image_of[annotation["image_id"]], annotation["bbox"]
        size = (image["width"], image["height"]) if is_size(image) else (math.inf, math.inf)
        if box_kind(box, *size) in (None, "box_across"):
            sizes.append((float(box[2]), float(box[3])))
    return sizes

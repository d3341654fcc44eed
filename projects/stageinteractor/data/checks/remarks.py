"""What the user should know beyond single invalid entries; ``stageinteractor check`` reports it.

In: usable entries. Out: findings about single annotations, about entries that repeat each other,
and about the set as a whole. Training accepts most of it, but not the boxes of another format.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .annotations import (
    TOLERANCE,
    box_kind,
    is_area,
    is_box,
    is_large_area,
    show_box,
    show_number,
    sized,
)
from .entries import Entries, by_id, class_name, grouped, is_usable, location_of
from .findings import Finding, Json, Location


def remarks(entries: Entries, num_queries: int) -> Iterator[Finding]:
    """Yield everything that may be wrong although each entry is valid by itself."""
    yield from _only_crowds(entries)
    yield from check_box_format(entries)
    yield from _text_ids(entries.images)
    yield from _of_annotations(entries)
    yield from _same_boxes(entries)
    yield from repeated_files(entries.images)
    yield from repeated_names(entries.categories)
    yield from _unused_categories(entries)
    yield from crowded_images(entries.annotations, entries.image_of, num_queries)


def _only_crowds(entries: Entries) -> Iterator[Finding]:
    annotations = entries.annotations
    if annotations and all(annotation.get("iscrowd") for annotation in annotations):
        yield Finding("only_crowds", f"all {len(annotations)} objects are crowds")


def check_box_format(entries: Entries) -> Iterator[Finding]:
    """Yield one finding if the boxes of the set are clearly not (x, y, w, h) in pixels."""
    form = guess_box_format((a["bbox"], i["width"], i["height"]) for a, i in sized(entries))
    if form == "xyxy":
        yield Finding("looks_xyxy", "the boxes fit the images as x1, y1, x2, y2, not as x, y, w, h")
    elif form == "relative":
        yield Finding("looks_relative", "the boxes lie between 0 and 1")


def _text_ids(images: list[Json]) -> Iterator[Finding]:
    for image in images:
        if isinstance(image["id"], str):
            yield Finding(
                "text_id", f"the id is the text {image['id']!r}", Location.of_image(image)
            )


def _of_annotations(entries: Entries) -> Iterator[Finding]:
    for position, entry in enumerate(entries.listed):
        if is_usable("annotations", entry):
            for kind, problem in _odd_ids(entry):
                location = location_of("annotations", position, entry, entries.image_of)
                yield Finding(kind, problem, location)
    for annotation in entries.annotations:
        for kind, problem in _odd_areas(annotation):
            image = entries.image_of[annotation["image_id"]]
            yield Finding(kind, problem, Location.of_annotation(annotation, image))
    for annotation in entries.without_box:
        image = entries.image_of[annotation["image_id"]]
        problem = "it has a segmentation, but no bbox"
        yield Finding("no_box", problem, Location.of_annotation(annotation, image))


def _odd_ids(annotation: Json) -> Iterator[tuple[str, str]]:
    """Yield kind and text of an id that training accepts, but other tools may not."""
    if "id" not in annotation:
        yield "no_id", "it has no id"
    elif isinstance(annotation["id"], str):
        yield "text_id", f"the id is the text {annotation['id']!r}"
    elif annotation["id"] == 0 and annotation["id"] is not False:
        yield "id_0", "the id is 0"


def _odd_areas(annotation: Json) -> Iterator[tuple[str, str]]:
    """Yield kind and text of an area that is missing or larger than the box."""
    if "area" not in annotation:
        yield "no_area", "it has no area"
    elif is_area(annotation["area"]) and is_large_area(annotation):
        area, box = show_number(annotation["area"]), show_box(annotation["bbox"])
        yield "large_area", f"area {area}, box {box}"


def _same_boxes(entries: Entries) -> Iterator[Finding]:
    first: dict[Any, Json] = {}
    for annotation in entries.annotations:
        if not is_box(annotation["bbox"]):
            continue
        ids = annotation["image_id"], annotation["category_id"]
        key = (*ids, *annotation["bbox"], str(annotation.get("iscrowd", 0)))
        other = first.setdefault(key, annotation)
        if other is not annotation:
            image = entries.image_of[annotation["image_id"]]
            name = f" as annotation id {other['id']}" if "id" in other else ""
            problem = f"the same box and class{name}"
            yield Finding("same_box", problem, Location.of_annotation(annotation, image))


def repeated_files(images: list[Json]) -> Iterator[Finding]:
    """Yield the file names that several image entries have."""
    yield from repeated_values(images, "file_name", "repeated_file", Location.of_image)


def repeated_names(categories: list[Json]) -> Iterator[Finding]:
    """Yield the names that several categories have."""
    yield from repeated_values(categories, "name", "repeated_name", Location.of_category)


def repeated_values(
    entries: list[Json], field: str, kind: str, location: Callable[[Json], Location]
) -> Iterator[Finding]:
    """Yield the values of a field that several entries have, at the location of the second one."""
    for value, group in grouped(entries, field).items():
        if len(group) > 1:
            ids = ", ".join(str(entry["id"]) for entry in group[:5])
            problem = f"{value!r} is listed {len(group)} times, as id {ids}"
            yield Finding(kind, problem, location(group[1]))


def _unused_categories(entries: Entries) -> Iterator[Finding]:
    used = {annotation["category_id"] for annotation in entries.annotations}
    for category_id, category in by_id(entries.categories).items():
        if used and category_id not in used:
            problem = f"no object of class {class_name(category)!r}"
            yield Finding("unused_category", problem, Location.of_category(category))


def crowded_images(
    annotations: list[Json], image_of: dict[Any, Json], num_queries: int
) -> Iterator[Finding]:
    """Yield the images with more objects than queries, the worst first; crowds need no query."""
    counts = Counter(each["image_id"] for each in annotations if not each.get("iscrowd"))
    for image_id, count in counts.most_common():
        if count <= num_queries:
            return
        problem = f"{count} objects, {num_queries} queries"
        yield Finding("crowded", problem, Location.of_image(image_of[image_id]))


def guess_box_format(boxes: Iterable[tuple[Any, float, float]]) -> str | None:
    """Return "xyxy" or "relative" if boxes are clearly not (x, y, w, h) in pixels, else None.

    Corners: as (x, y, w, h) a good part of the boxes would lie over the edge by a tenth of the
    image, and nearly all lie inside as (x1, y1, x2, y2). Relative boxes lie between 0 and 1, and
    not all values are 0 or 1: those may be pixels.

    Args:
        boxes: with width and height of their images, pixels.
    """
    total = crossing = corners = relative = fractions = 0
    for box, width, height in boxes:
        kind = box_kind(box, width, height)
        if kind in ("box_not_numbers", "box_negative"):
            continue
        total += 1
        x1, y1, x2, y2 = box
        crossing += x1 + x2 > 1.1 * width or y1 + y2 > 1.1 * height
        corners += x1 < x2 <= width + TOLERANCE and y1 < y2 <= height + TOLERANCE
        relative += max(box) <= 1 < min(width, height) / 8
        fractions += any(0 < value < 1 for value in box)
    if fractions and relative >= 0.95 * total:
        return "relative"
    if crossing >= max(3, 0.3 * total) and corners >= 0.95 * total:
        return "xyxy"
    return None

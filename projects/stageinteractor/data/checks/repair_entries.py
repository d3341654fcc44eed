"""Repair the lists: incomplete and ambiguous entries go, ids become unique, references hold.

In: lists of entries, copies that may be changed. Out: what is left of them; the log tells the rest.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from ...printable_text import printable
from ..segmentation import with_box
from ..values import is_writable
from .changes import ChangeLog
from .entries import SINGULAR, can_be_kept, class_name, is_id, is_id_of, key_of
from .findings import Json, Place

LABELS = {"images": "file_name", "categories": "name"}


def keep_whole(name: str, listed: list[Any], log: ChangeLog) -> list[Json]:
    """Return copies of the entries of a list that can be repaired or need not be."""
    kept = []
    for position, entry in enumerate(listed):
        if can_be_kept(name, entry):
            kept.append(dict(entry))
        else:
            log.add("dropped", "incomplete", Place(entry=f"number {position} of {name!r}"))
    return kept


def complete_boxes(annotations: list[Any], log: ChangeLog) -> list[Any]:
    """Return the annotations, with boxes from their segmentations where they have none."""
    completed = [with_box(annotation) for annotation in annotations]
    count = sum(after is not before for before, after in zip(annotations, completed, strict=True))
    if count:
        log.add("box set", f"that of the segmentation, for {count} objects that had none")
    return completed


def free_ids(entries: Iterable[Json]) -> Iterator[int]:
    """Yield whole numbers from 1 that no entry has as its id."""
    taken = {entry["id"] for entry in entries if is_id(entry.get("id"))}
    return (number for number in itertools.count(1) if number not in taken)


def settle_ids(
    name: str, entries: list[Json], annotations: list[Json], log: ChangeLog
) -> tuple[list[Json], list[Json]]:
    """Give every image or category an id of its own; annotations follow.

    Where one id stands for several things, nobody can tell which of them its annotations mean:
    these annotations are dropped, and so are the images, which would seem to be without objects.

    Args:
        name: "images" or "categories".
        entries: of that list; changed in place.
        annotations: changed in place.

    Returns:
        The entries and the annotations that are left.
    """
    kind, label, free = SINGULAR[name], LABELS[name], free_ids(entries)
    groups = _different(entries, kind, label, log)
    ambiguous = {key for key, group in groups.items() if len(group) > 1}
    kept: list[Json] = []
    for key, group in groups.items():
        if key in ambiguous and name == "images":
            for entry in group:
                log.add("dropped", "several images have its id", Place.of_image(entry))
            continue
        for position, entry in enumerate(group):
            if position > 0 or not is_id_of(name, entry["id"]):
                old, entry["id"] = entry["id"], next(free)
                place = Place(entry=f"{kind} {entry.get(label)!r}")
                log.add("renumbered", f"id {old!r} is now {entry['id']}", place)
        kept += group
    new_id = {key: group[0]["id"] for key, group in groups.items()}
    left = []
    for annotation in annotations:
        key = key_of(annotation[f"{kind}_id"])
        if key in ambiguous:
            detail = f"{kind} id {key!r} stands for several"
            log.add("dropped", detail, Place.of_annotation(annotation, None))
            continue
        annotation[f"{kind}_id"] = new_id.get(key, annotation[f"{kind}_id"])
        left.append(annotation)
    return kept, left


def _different(entries: list[Json], kind: str, label: str, log: ChangeLog) -> dict[Any, list[Json]]:
    """Group entries by their id, without those that only repeat another one."""
    groups: dict[Any, list[Json]] = {}
    for position, entry in enumerate(entries):
        key = key_of(entry["id"])
        group = groups.setdefault(("position", position) if key is None else key, [])
        if any(entry.get(label) == other.get(label) for other in group):
            log.add("dropped", "listed twice", Place(entry=f"{kind} {entry.get(label)!r}"))
        else:
            group.append(entry)
    return groups


def join_files(images: list[Json], annotations: list[Json], log: ChangeLog) -> list[Json]:
    """Let entries of the same file be one, with the annotations of them all."""
    first: dict[str, Json] = {}
    joined: dict[Any, Any] = {}
    for image in images:
        other = first.setdefault(image["file_name"], image)
        if other is not image:
            log.add("joined", f"its objects go to image id {other['id']}", Place.of_image(image))
            joined[image["id"]] = other["id"]
    for annotation in annotations:
        key = key_of(annotation["image_id"])
        annotation["image_id"] = joined.get(key, annotation["image_id"])
    return list(first.values())


def drop_strangers(
    images: list[Json], categories: list[Json], annotations: list[Json], log: ChangeLog
) -> list[Json]:
    """Return the annotations whose image and category are listed."""
    known = {
        "image_id": {image["id"] for image in images},
        "category_id": {category["id"] for category in categories},
    }
    kept = []
    for annotation in annotations:
        unknown = [field for field in known if key_of(annotation[field]) not in known[field]]
        if unknown:
            told = " and ".join(f"{field} {annotation[field]!r}" for field in unknown)
            log.add("dropped", f"{told} is not listed", Place.of_annotation(annotation, None))
        else:
            kept.append(annotation)
    return kept


def name_categories(categories: list[Json], log: ChangeLog) -> None:
    """Name the categories that have no name after their id; let the other names be texts."""
    for category in categories:
        if "name" not in category or not is_writable(category["name"]):
            category["name"] = printable(class_name(category))
            log.add("named", f"now {category['name']!r}", Place(category_id=category["id"]))


def number_annotations(annotations: list[Json], log: ChangeLog) -> None:
    """Give every annotation an id of its own, from 1."""
    free, seen, without = free_ids(annotations), set(), 0
    for annotation in annotations:
        old = annotation.get("id")
        if is_id_of("annotations", old) and old != 0 and old not in seen:
            seen.add(old)
            continue
        annotation["id"] = next(free)
        if old is None:
            without += 1
        else:
            place = Place(annotation_id=old, image_id=annotation["image_id"])
            log.add("renumbered", f"id is now {annotation['id']}", place)
    if without:
        log.add("numbered", f"{without} annotations that had no id")

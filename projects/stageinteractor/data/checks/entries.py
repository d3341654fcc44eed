"""The lists of an annotation file: whole entries, unique ids, references that lead somewhere.

In: the parsed JSON. Out: the entries that the other checks can go on with, and findings.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .findings import Finding, Json, Place

SINGULAR = {"images": "image", "annotations": "annotation", "categories": "category"}
NEEDED = {
    "images": ("id", "file_name"),
    "annotations": ("image_id", "category_id", "bbox"),
    "categories": ("id",),
}
EXPECTED = {"images": ("width", "height"), "annotations": (), "categories": ("name",)}


@dataclass(frozen=True)
class Entries:
    """What can be used of an annotation file."""

    images: list[Json]  # with file_name; width and height may be anything
    annotations: list[Json]  # of a known image and category; everything else may be anything
    categories: list[Json]
    image_of: dict[Any, Json]  # by id, the first one of each

    @property
    def class_counts(self) -> dict[str, int]:
        """Return the number of objects of every class, in the order of the file."""
        found = Counter(annotation["category_id"] for annotation in self.annotations)
        counts: Counter[str] = Counter()
        for category_id, category in _by_id(self.categories).items():
            counts[class_name(category)] += found[category_id]
        return dict(counts)


def is_id(value: Any) -> bool:
    """Tell whether a value can be an id: COCO's are whole numbers."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Tell whether a value is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def is_size(image: Json) -> bool:
    """Tell whether width and height of an image entry are positive numbers."""
    return all(is_number(image.get(side)) and image[side] > 0 for side in ("width", "height"))


def class_name(category: Json) -> str:
    """Return the name of a category, or one made of its id."""
    return str(category.get("name", f"category {category['id']}"))


def key_of(value: Any) -> Any:
    """Return an id as it can be looked up; None for what cannot be one (a list, an object)."""
    return value if isinstance(value, int | float | str) else None


def check_entries(content: Json) -> tuple[Entries, list[Finding]]:
    """Check the three lists of an annotation file; each must be a list."""
    findings: list[Finding] = []
    whole = {name: _whole_entries(name, content[name], findings.append) for name in SINGULAR}
    for name in SINGULAR:
        if not content[name]:
            findings.append(Finding(f"no_{name}", f"{name!r} is empty"))
    image_of = _by_id(whole["images"])
    category_of = _by_id(whole["categories"])
    for name, kind in SINGULAR.items():
        findings += _repeated(whole[name], kind)
    findings += _repeated_values(whole["images"], "file_name", "repeated_file")
    findings += _repeated_values(whole["categories"], "name", "repeated_name")
    annotations = list(_of_known(whole["annotations"], image_of, category_of, findings.append))
    entries = Entries(whole["images"], annotations, whole["categories"], image_of)
    used = {annotation["category_id"] for annotation in annotations}
    for category_id, category in category_of.items():
        if annotations and category_id not in used:
            problem = f"no object of class {class_name(category)!r}"
            findings.append(Finding("unused_category", problem, Place(category_id=category_id)))
    return entries, findings


def _whole_entries(name: str, listed: list[Any], add: Callable[[Finding], None]) -> list[Json]:
    """Return the entries that have what they need to be spoken about."""
    whole = []
    for position, entry in enumerate(listed):
        where = f"number {position} of {name!r}"
        if not isinstance(entry, dict):
            add(Finding("malformed", f"no object but {entry!r}", Place(entry=where)))
            continue
        missing = [field for field in NEEDED[name] + EXPECTED[name] if field not in entry]
        usable = can_be_kept(name, entry)
        if missing or not usable:
            problem = f"no {', '.join(missing)}" if missing else "file_name is no text"
            place = Place(
                **{f"{SINGULAR[name]}_id": entry["id"]} if "id" in entry else {"entry": where}
            )
            add(Finding("malformed", problem, place))
        if usable:
            whole.append(entry)
            _check_id(name, entry, where, add)
    return whole


def can_be_kept(name: str, entry: Any) -> bool:
    """Tell whether an entry of a list has what nothing else can supply."""
    if not isinstance(entry, dict) or any(field not in entry for field in NEEDED[name]):
        return False
    return name != "images" or (isinstance(entry["file_name"], str) and entry["file_name"] != "")


def _check_id(name: str, entry: Json, where: str, add: Callable[[Finding], None]) -> None:
    if "id" not in entry:  # only annotations come here without
        add(Finding("no_id", "it has no id", Place(image_id=entry["image_id"], entry=where)))
    elif not is_id(entry["id"]):
        add(Finding("odd_id", f"the id is {entry['id']!r}", Place(entry=where)))
    elif name == "annotations" and entry["id"] == 0:
        add(Finding("id_0", "the id is 0", Place(0, image_id=entry["image_id"])))


def _by_id(entries: list[Json]) -> dict[Any, Json]:
    found: dict[Any, Json] = {}
    for entry in entries:
        if key_of(entry["id"]) is not None:
            found.setdefault(entry["id"], entry)
    return found


def _repeated(entries: list[Json], kind: str) -> Iterator[Finding]:
    """Find ids used more than once, one finding an id."""
    groups = _grouped(entries, "id")
    for value, group in groups.items():
        if len(group) > 1:
            names = [str(e.get("file_name", e.get("name", ""))) for e in group]
            told = f" ({', '.join(names[:5])})" if any(names) else ""
            problem = f"used {len(group)} times{told}"
            yield Finding(f"repeated_{kind}_id", problem, Place(**{f"{kind}_id": value}))


def _repeated_values(entries: list[Json], field: str, kind: str) -> Iterator[Finding]:
    for value, group in _grouped(entries, field).items():
        if len(group) > 1:
            ids = ", ".join(str(entry["id"]) for entry in group[:5])
            yield Finding(kind, f"{value!r} is listed {len(group)} times, as id {ids}")


def _grouped(entries: list[Json], field: str) -> dict[Any, list[Json]]:
    groups: dict[Any, list[Json]] = defaultdict(list)
    for entry in entries:
        if key_of(entry.get(field)) is not None:
            groups[entry[field]].append(entry)
    return groups


def _of_known(
    annotations: list[Json],
    image_of: dict[Any, Json],
    category_of: dict[Any, Json],
    add: Callable[[Finding], None],
) -> Iterator[Json]:
    for annotation in annotations:
        image = image_of.get(key_of(annotation["image_id"]))
        place = Place.of_annotation(annotation, image)
        if image is None:
            problem = f"image_id {annotation['image_id']!r} is not in 'images'"
            add(Finding("unknown_image", problem, place))
        known = key_of(annotation["category_id"]) in category_of
        if not known:
            problem = f"category_id {annotation['category_id']!r} is not in 'categories'"
            add(Finding("unknown_category", problem, place))
        if image is not None and known:
            yield annotation

"""The lists of an annotation file: whole entries, unique ids, references that lead somewhere.

In: the parsed JSON. Out: the entries that the other checks can go on with, and findings.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..distinct_names import distinct_names
from ..segmentation import with_box
from ..values import is_number, is_writable
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
        counts = Counter(annotation["category_id"] for annotation in self.annotations)
        names = {each: class_name(category) for each, category in _by_id(self.categories).items()}
        return {name: counts[each] for each, name in distinct_names(names).items()}


def is_id(value: Any) -> bool:
    """Tell whether a value can be an id: COCO's are whole numbers."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_id_of(name: str, value: Any) -> bool:
    """Tell whether training and evaluation take an id in a list: not of categories texts too."""
    return is_id(value) or (name != "categories" and isinstance(value, str))


def is_size(image: Json) -> bool:
    """Tell whether width and height of an image entry are positive numbers."""
    return all(is_number(image.get(side)) and image[side] > 0 for side in ("width", "height"))


def class_name(category: Json) -> str:
    """Return the name of a category, or one made of its id."""
    return str(category.get("name", f"category {category['id']}"))


def key_of(value: Any) -> Any:
    """Return an id as it can be looked up; None for what cannot be one, such as a list or True."""
    is_key = isinstance(value, int | float | str) and not isinstance(value, bool)
    return value if is_key else None


def check_entries(content: Json) -> tuple[Entries, list[Finding]]:
    """Check the three lists of an annotation file; each must be a list."""
    listed = {name: content[name] for name in SINGULAR}
    listed["annotations"] = [with_box(entry) for entry in content["annotations"]]
    whole = {name: [e for e in listed[name] if can_be_kept(name, e)] for name in SINGULAR}
    image_of = _by_id(whole["images"])
    category_of = _by_id(whole["categories"])
    findings: list[Finding] = []
    for name, kind in SINGULAR.items():
        findings += _check_list(name, listed[name], image_of)
        findings += _repeated(whole[name], kind, image_of)
    findings += _boxes_taken(content["annotations"], listed["annotations"], image_of)
    findings += _repeated_values(whole["images"], "file_name", "repeated_file", Place.of_image)
    findings += _repeated_values(whole["categories"], "name", "repeated_name", Place.of_category)
    annotations = list(_of_known(whole["annotations"], image_of, category_of, findings.append))
    entries = Entries(whole["images"], annotations, whole["categories"], image_of)
    used = {annotation["category_id"] for annotation in annotations}
    for category_id, category in category_of.items():
        if annotations and category_id not in used:
            problem = f"no object of class {class_name(category)!r}"
            findings.append(Finding("unused_category", problem, Place.of_category(category)))
    return entries, findings


def _check_list(name: str, listed: list[Any], image_of: dict[Any, Json]) -> Iterator[Finding]:
    """Yield what is wrong with each entry by itself."""
    if not listed:
        yield Finding(f"no_{name}", f"{name!r} is empty")
    for position, entry in enumerate(listed):
        for kind, problem in _entry_problems(name, entry):
            yield Finding(kind, problem, _place(name, position, entry, image_of))


def _boxes_taken(
    given: list[Any], completed: list[Any], image_of: dict[Any, Json]
) -> Iterator[Finding]:
    """Yield the annotations that `with_box` has given a box."""
    for position, (before, after) in enumerate(zip(given, completed, strict=True)):
        if after is not before:
            problem = "it has a segmentation, but no bbox"
            yield Finding("no_box", problem, _place("annotations", position, after, image_of))


def _entry_problems(name: str, entry: Any) -> Iterator[tuple[str, str]]:
    """Yield kinds of problems and what is wrong."""
    if not isinstance(entry, dict):
        yield "malformed", f"no object but {entry!r}"
        return
    missing = [field for field in NEEDED[name] + EXPECTED[name] if field not in entry]
    usable = can_be_kept(name, entry)
    if missing or not usable:
        yield "malformed", f"no {', '.join(missing)}" if missing else "file_name is no text"
    if not usable:
        return
    if "id" not in entry:  # only annotations come here without
        yield "no_id", "it has no id"
    elif not is_id_of(name, entry["id"]):
        yield "odd_id", f"the id is {entry['id']!r}"
    elif isinstance(entry["id"], str):
        yield "text_id", f"the id is the text {entry['id']!r}"
    elif name == "annotations" and entry["id"] == 0:
        yield "id_0", "the id is 0"
    if name == "categories" and not is_writable(entry.get("name")):
        yield "odd_name", f"the name is {entry['name']!r}"


def _place(name: str, position: int, entry: Any, image_of: dict[Any, Json]) -> Place:
    """Return the place of an entry, with its position unless it has an id to be found by."""
    where = f"number {position} of {name!r}"
    if not isinstance(entry, dict):
        return Place(entry=where)
    place = {
        "images": Place.of_image,
        "annotations": lambda a: Place.of_annotation(a, image_of.get(key_of(a.get("image_id")))),
        "categories": Place.of_category,
    }[name](entry)
    return place if is_id_of(name, entry.get("id")) else replace(place, entry=where)


def can_be_kept(name: str, entry: Any) -> bool:
    """Tell whether an entry of a list has what nothing else can supply."""
    if not isinstance(entry, dict) or any(field not in entry for field in NEEDED[name]):
        return False
    return name != "images" or (isinstance(entry["file_name"], str) and entry["file_name"] != "")


def _by_id(entries: list[Json]) -> dict[Any, Json]:
    found: dict[Any, Json] = {}
    for entry in entries:
        if key_of(entry["id"]) is not None:
            found.setdefault(entry["id"], entry)
    return found


def _repeated(entries: list[Json], kind: str, image_of: dict[Any, Json]) -> Iterator[Finding]:
    """Find ids used more than once, one finding an id."""
    for value, group in _grouped(entries, "id").items():
        if len(group) > 1:
            names = list(dict.fromkeys(_label(entry, image_of) for entry in group))
            told = f" ({', '.join(names[:5])})" if any(names) else ""
            problem = f"used {len(group)} times{told}"
            yield Finding(f"repeated_{kind}_id", problem, Place(**{f"{kind}_id": value}))


def _label(entry: Json, image_of: dict[Any, Json]) -> str:
    """Return what tells entries of one id apart: the file, the name, or an object's image."""
    if "image_id" not in entry:
        return str(entry.get("file_name", entry.get("name", "")))
    image = image_of.get(key_of(entry["image_id"]), {})
    return f"image id {entry['image_id']}: {image.get('file_name', 'unknown')}"


def _repeated_values(
    entries: list[Json], field: str, kind: str, place: Callable[[Json], Place]
) -> Iterator[Finding]:
    for value, group in _grouped(entries, field).items():
        if len(group) > 1:
            ids = ", ".join(str(entry["id"]) for entry in group[:5])
            problem = f"{value!r} is listed {len(group)} times, as id {ids}"
            yield Finding(kind, problem, place(group[1]))


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

"""The lists of an annotation file: complete entries, unique ids, references that resolve.

In: the parsed JSON. Out: the entries that the other checks can use, and what training refuses.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..segmentation import with_box
from ..values import is_number, is_writable
from .findings import Finding, Json, Location

SINGULAR = {"images": "image", "categories": "category", "annotations": "annotation"}
NEEDED = {
    "images": ("id", "file_name"),
    "annotations": ("image_id", "category_id", "bbox"),
    "categories": ("id",),
}
EXPECTED = {"images": ("width", "height"), "annotations": (), "categories": ("name",)}


@dataclass(frozen=True)
class Entries:
    """The usable entries of an annotation file.

    Args:
        images: with id and file_name; width and height may be anything.
        annotations: of a known image and category; the other fields may be anything.
        categories: with id.
        listed: all annotations, whatever they are.
        image_of: images by id, the first one of each.
        without_box: those of ``annotations`` whose box is that of their segmentation.
    """

    images: list[Json]
    annotations: list[Json]
    categories: list[Json]
    listed: list[Any]
    image_of: dict[Any, Json]
    without_box: list[Json]

    @property
    def class_counts(self) -> dict[str, int]:
        """Return the number of objects of every class, in the order of the file."""
        counts = Counter(annotation["category_id"] for annotation in self.annotations)
        names = {each: class_name(category) for each, category in by_id(self.categories).items()}
        return {name: counts[each] for each, name in distinct_names(names).items()}


def distinct_names(names: Mapping[Any, Any]) -> dict[Any, str]:
    """Return the names of categories by id; a name that several have is followed by the id.

    Tables, plots and metrics are keyed by name, so two rows "car" would be one.

    Args:
        names: by category id, such as {3: "car", 7: "car", 8: "bus"}.

    Returns:
        such as {3: "car (id 3)", 7: "car (id 7)", 8: "bus"}, in the order given.
    """
    distinct = {category: str(name) for category, name in names.items()}
    while len(counts := Counter(distinct.values())) < len(distinct):
        for category, name in distinct.items():  # again if a category is called "car (id 3)"
            if counts[name] > 1:
                distinct[category] = f"{name} (id {category})"
    return distinct


def is_id_of(name: str, value: Any) -> bool:
    """Return whether a value can be an id in a list: an integer; except for categories, a text."""
    return type(value) is int or (type(value) is str and name != "categories")


def is_size(image: Json) -> bool:
    """Return whether width and height of an image entry are positive numbers."""
    return all(is_number(image.get(side)) and image[side] > 0 for side in ("width", "height"))


def class_name(category: Json) -> str:
    """Return the name of a category, or one that contains its id."""
    return str(category.get("name", f"category {category['id']}"))


def key_of(value: Any) -> Any:
    """Return an id as a dictionary key; None for what cannot be one, such as a list or True."""
    return value if type(value) in (int, str, float) else None


def by_id(entries: list[Json]) -> dict[Any, Json]:
    """Return entries by id, the first one of each."""
    first = {entry["id"]: entry for entry in reversed(entries) if key_of(entry["id"]) is not None}
    return dict(reversed(first.items()))


def grouped(entries: list[Json], field: str) -> dict[Any, list[Json]]:
    """Return entries by the value of a field, without those whose value cannot be a key."""
    groups: dict[Any, list[Json]] = defaultdict(list)
    for entry in entries:
        if key_of(entry.get(field)) is not None:
            groups[entry[field]].append(entry)
    return groups


def check_entries(content: Json) -> tuple[Entries, list[Finding]]:
    """Check the three lists of an annotation file; each must be a list."""
    given = content["annotations"]
    listed = content | {"annotations": [with_box(entry) for entry in given]}
    usable = {name: [e for e in listed[name] if is_usable(name, e)] for name in SINGULAR}
    image_of, category_of = by_id(usable["images"]), by_id(usable["categories"])
    findings: list[Finding] = []
    for name, kind in SINGULAR.items():
        findings += _check_list(name, listed[name], image_of)
        findings += _repeated_ids(usable[name], kind, image_of)
    for image in usable["images"]:
        if "width" in image and "height" in image and not is_size(image):
            size = f"width {image['width']!r}, height {image['height']!r}"
            findings.append(Finding("invalid_size", size, Location.of_image(image)))
    known = []
    for annotation in usable["annotations"]:
        is_known = (
            key_of(annotation["image_id"]) in image_of
            and key_of(annotation["category_id"]) in category_of
        )
        if is_known:
            known.append(annotation)
        else:
            findings += _unknown(annotation, image_of, category_of)
    before = {id(entry) for entry in given}
    without_box = [annotation for annotation in known if id(annotation) not in before]
    entries = Entries(
        usable["images"], known, usable["categories"], listed["annotations"], image_of, without_box
    )
    return entries, findings


def is_usable(name: str, entry: Any) -> bool:
    """Return whether an entry of a list has the fields that nothing else can supply."""
    if not isinstance(entry, dict):
        return False
    for field in NEEDED[name]:
        if field not in entry:
            return False
    return name != "images" or (isinstance(entry["file_name"], str) and entry["file_name"] != "")


def _check_list(name: str, listed: list[Any], image_of: dict[Any, Json]) -> Iterator[Finding]:
    """Yield what is wrong with each entry by itself."""
    if not listed:
        yield Finding(f"no_{name}", f"{name!r} is empty")
    for position, entry in enumerate(listed):
        problem = _entry_problem(name, entry)
        if problem is not None:
            yield Finding(*problem, location_of(name, position, entry, image_of))


def _entry_problem(name: str, entry: Any) -> tuple[str, str] | None:
    """Return kind and text of what is wrong with an entry, or None."""
    if not isinstance(entry, dict):
        return "malformed", f"expected an object, got {entry!r}"
    missing = [field for field in NEEDED[name] + EXPECTED[name] if field not in entry]
    if missing:
        return "malformed", f"no {', '.join(missing)}"
    if not is_usable(name, entry):
        return "malformed", f"file_name is {entry['file_name']!r}, not a text"
    if "id" in entry and not is_id_of(name, entry["id"]):
        return "invalid_id", f"the id is {entry['id']!r}"
    if name == "categories" and not is_writable(entry["name"]):
        return "invalid_name", f"the name is {entry['name']!r}"
    return None


def location_of(name: str, position: int, entry: Any, image_of: dict[Any, Json]) -> Location:
    """Return the location of an entry, with its position in the list unless it has a valid id."""
    where = f"number {position} of {name!r}"
    if not isinstance(entry, dict):
        return Location(entry=where)
    if name == "annotations":
        location = Location.of_annotation(entry, image_of.get(key_of(entry.get("image_id"))))
    else:
        location = Location.of_image(entry) if name == "images" else Location.of_category(entry)
    return location if is_id_of(name, entry.get("id")) else replace(location, entry=where)


def _repeated_ids(entries: list[Json], kind: str, image_of: dict[Any, Json]) -> Iterator[Finding]:
    """Yield the ids that several entries have, one finding an id."""
    keys = [key_of(entry.get("id")) for entry in entries]
    if len(set(keys)) == len(keys):
        return
    for value, group in grouped(entries, "id").items():
        if len(group) > 1:
            names = list(dict.fromkeys(_label(entry, image_of) for entry in group))
            listed = f" ({', '.join(names[:5])})" if any(names) else ""
            problem = f"used {len(group)} times{listed}"
            yield Finding(f"repeated_{kind}_id", problem, Location(**{f"{kind}_id": value}))


def _label(entry: Json, image_of: dict[Any, Json]) -> str:
    """Return what distinguishes entries of one id: the file, the name, or an object's image."""
    if "image_id" not in entry:
        return str(entry.get("file_name", entry.get("name", "")))
    image = image_of.get(key_of(entry["image_id"]), {})
    return f"image id {entry['image_id']}: {image.get('file_name', 'unknown')}"


def _unknown(
    annotation: Json, image_of: dict[Any, Json], category_of: dict[Any, Json]
) -> Iterator[Finding]:
    """Yield the references of an annotation that do not resolve."""
    for kind, name, known in (
        ("image", "images", image_of),
        ("category", "categories", category_of),
    ):
        value = annotation[f"{kind}_id"]
        if key_of(value) not in known:
            image = image_of.get(key_of(annotation["image_id"]))
            problem = f"{kind}_id {value!r} is not in {name!r}"
            yield Finding(f"unknown_{kind}", problem, Location.of_annotation(annotation, image))

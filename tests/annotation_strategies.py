"""Valid and invalid COCO annotation files for property-based tests."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st
from tally import count_fault

Json = dict[str, Any]
FILES = {"a.png": (60, 40), "b.png": (50, 50), "dot.png": (1, 1)}  # width, height
LISTS = ("images", "annotations", "categories")
FIELDS = {
    "images": ("id", "file_name", "width", "height"),
    "annotations": ("id", "image_id", "category_id", "bbox", "segmentation", "area", "iscrowd"),
    "categories": ("id", "name"),
}

numbers = st.one_of(
    st.integers(-3, 70),
    st.floats(),  # NaN and infinity among them
    st.sampled_from([0, -1, 1e-300, 1e300, 10**400, -(10**400), 2**53 + 1, 0.5, 1e-5]),
)
texts = st.one_of(
    st.text(st.characters(), max_size=6),  # lone surrogates and zeros among them
    st.sampled_from(["", ".", "/", "a.png", "../a.png", "a\nb", "0", "1", "\0", "\ud800"]),
)
plain = st.one_of(st.none(), st.booleans(), numbers, texts)
junk = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=6,
)
boxes = st.one_of(
    st.lists(st.integers(0, 30), min_size=4, max_size=4),
    st.lists(numbers, min_size=4, max_size=4),
    st.sampled_from(
        [[5, 5, 0, 3], [0, 0, 60, 40], [30, 20, -10, 5], [-9, -9, 5, 5], [59.5, 1, 4, 4]]
    ),
)


@st.composite
def valid_files(draw: st.DrawFn) -> Json:
    """Draw a valid file, possibly without annotations."""
    names = draw(st.lists(st.sampled_from(sorted(FILES)), min_size=1, unique=True))
    classes = draw(st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True))
    annotations = []
    for number in range(draw(st.sampled_from([2, 1, 0, 3, 4]))):
        image = draw(st.integers(0, len(names) - 1))
        width, height = FILES[names[image]]
        x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        w, h = draw(st.integers(1, width - x)), draw(st.integers(1, height - y))
        known = {"image_id": 10 + image, "category_id": draw(st.sampled_from(classes))}
        more = {"area": w * h, "iscrowd": draw(st.integers(0, 1))}
        if draw(st.booleans()):
            more["segmentation"] = [[x, y, x + w, y, x + w, y + h]]
        annotations.append({"id": number + 1, "bbox": [x, y, w, h]} | known | more)
    return {
        "images": [
            {"id": 10 + i, "file_name": name, "width": FILES[name][0], "height": FILES[name][1]}
            for i, name in enumerate(names)
        ],
        "annotations": annotations,
        "categories": [{"id": number, "name": f"class {number}"} for number in classes],
    }


@st.composite
def files(draw: st.DrawFn) -> Json:
    """Draw a file with up to four invalid changes, and count it as bad input."""
    content = copy.deepcopy(draw(valid_files()))
    faults = draw(st.sampled_from([1, 2, 0, 3, 4]))
    for _ in range(faults):
        _spoil(draw, content)
    if faults:
        count_fault("bad input")
    return content


def _spoil(draw: st.DrawFn, content: Json) -> None:
    way = draw(st.sampled_from(["box", "field", "lose", "box", "field", "twice", "entry", "list"]))
    name = "annotations" if way == "box" else draw(st.sampled_from(["annotations", *LISTS]))
    listed = content.get(name)
    if way == "list":
        content[name] = draw(st.one_of(junk, st.just([])))
    elif not isinstance(listed, list) or not listed:
        return
    else:
        place = draw(st.integers(0, len(listed) - 1))
        field = draw(st.sampled_from(FIELDS[name]))
        if way == "twice":
            listed.append(copy.deepcopy(listed[place]))
        elif way == "entry" or not isinstance(listed[place], dict):
            listed[place] = draw(junk)
        elif way == "box":
            listed[place]["bbox"] = draw(boxes)
        elif way == "lose":
            listed[place].pop(field, None)
        else:
            listed[place][field] = draw(junk)


def entries(content: Json, name: str) -> Iterator[Json]:
    """Yield the entries of a list that are objects."""
    listed = content.get(name)
    yield from (
        (entry for entry in listed if isinstance(entry, dict)) if isinstance(listed, list) else ()
    )

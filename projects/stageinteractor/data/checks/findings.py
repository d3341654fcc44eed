"""What a check can find: the kinds of problems, and one problem at one place.

A kind is an error where training refuses the set, or loses objects, or results would be wrong; what
training copes with is a warning.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ...printable_text import printable

Json = dict[str, Any]
ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Kind:
    """A kind of problem: what it is called, whether it is an error, and what to do about it."""

    name: str
    severity: str
    advice: str


TO_TRAIN_ON = (
    "training leaves images without objects out: annotate some, or set "
    "dataloader.train.dataset.filter_empty=false"
)
KINDS = {
    # the file as a whole
    "no_images": Kind("no images", ERROR, "list the images"),
    "no_categories": Kind("no categories", ERROR, "list at least one class"),
    "no_annotations": Kind("no annotations", ERROR, TO_TRAIN_ON),
    "only_crowds": Kind("no objects but crowds", ERROR, TO_TRAIN_ON),
    "looks_xyxy": Kind("looks like corners", ERROR, "write boxes as x, y, width, height"),
    "looks_relative": Kind("looks relative", ERROR, "write boxes in pixels"),
    # entries
    "malformed": Kind("incomplete entry", ERROR, "complete or remove it"),
    "odd_id": Kind("id that is no whole number", ERROR, "give it a whole number"),
    "odd_name": Kind("name that cannot be written", ERROR, "rename it"),
    "repeated_image_id": Kind("image id used twice", ERROR, "make it unique"),
    "repeated_category_id": Kind("category id used twice", ERROR, "make it unique"),
    "repeated_annotation_id": Kind("annotation id used twice", ERROR, "make it unique"),
    "unknown_category": Kind("unknown category", ERROR, "add the category, or remove the object"),
    "unknown_image": Kind("unknown image", ERROR, "add the image, or remove the object"),
    "odd_iscrowd": Kind("iscrowd neither 0 nor 1", ERROR, "set it to 0 or 1"),
    "odd_area": Kind("impossible area", ERROR, "set it to the object's pixels, or leave it out"),
    # image files
    "missing_image": Kind("image missing", ERROR, "restore the file, or remove the image"),
    "backslashes": Kind(
        "file name of Windows", ERROR, "write it relative to the image folder, with /"
    ),
    "unreadable_image": Kind("image unreadable", ERROR, "repair the file, or remove the image"),
    "odd_size": Kind("image size that is none", ERROR, "set width and height to the file's"),
    "other_size": Kind("image size differs", ERROR, "set width and height to the file's"),
    "exif_size": Kind(
        "image size before EXIF rotation", ERROR, "turn size and boxes as the image is turned"
    ),
    "repeated_file": Kind("image listed twice", ERROR, "join both entries"),
    # boxes
    "box_not_numbers": Kind("box that is not four numbers", ERROR, "correct or remove it"),
    "box_negative": Kind("box of negative size", ERROR, "its corners are swapped: swap them back"),
    "box_empty": Kind("box without size", ERROR, "correct or remove it"),
    "box_outside": Kind("box outside the image", ERROR, "correct or remove it"),
    "box_across": Kind("box across the edge", WARNING, "clip it to the image"),
    "same_box": Kind("box listed twice", WARNING, "remove one"),
    # what training copes with
    "crowded": Kind(
        "more objects than queries", WARNING, "raise model.queries.num_queries, or cut the image up"
    ),
    "exif": Kind(
        "EXIF rotation", WARNING, "it is turned when it is read; the boxes must fit the turned one"
    ),
    "no_id": Kind("annotation without id", WARNING, "one is made up for it"),
    "id_0": Kind(
        "annotation id 0", WARNING, "COCO's evaluation elsewhere calls it missed: number from 1"
    ),
    "no_box": Kind("no box", WARNING, "that of its segmentation is taken"),
    "text_id": Kind(
        "id that is a text", WARNING, "taken as it is; other tools may want a whole number"
    ),
    "no_area": Kind("no area", WARNING, "width times height is taken"),
    "large_area": Kind(
        "area larger than the box", WARNING, "AP by size would be wrong: correct it"
    ),
    "unused_category": Kind("category without objects", WARNING, "remove it if it is not meant"),
    "repeated_name": Kind("category name used twice", WARNING, "rename one, or join them"),
}


@dataclass(frozen=True)
class Place:
    """Where something is: ids of entries (None: no such entry, or it has none).

    Args:
        annotation_id, category_id, image_id: as in the file.
        file_name: of the image.
        entry: how to find an entry without id, for instance "number 4 of 'images'".
    """

    annotation_id: Any = None
    category_id: Any = None
    image_id: Any = None
    file_name: str | None = None
    entry: str | None = None

    def __str__(self) -> str:
        parts = [] if self.entry is None else [self.entry]
        for name in ("annotation", "category", "image"):
            value = getattr(self, f"{name}_id")
            if value is not None:
                parts.append(f"{name} id {value}")
        return ", ".join(parts) + (f" ({self.file_name})" if self.file_name is not None else "")

    @classmethod
    def of_image(cls, image: Json) -> Place:
        """Return the place of an image entry."""
        return cls(image_id=image.get("id"), file_name=image.get("file_name"))

    @classmethod
    def of_category(cls, category: Json) -> Place:
        """Return the place of a category entry."""
        return cls(category_id=category.get("id"))

    @classmethod
    def of_annotation(cls, annotation: Json, image: Json | None) -> Place:
        """Return the place of an annotation entry; of its image only the id, if it is not given."""
        image = image or {"id": annotation.get("image_id")}
        return cls(annotation.get("id"), None, image["id"], image.get("file_name"))


SET = Place()  # the set as a whole


@dataclass(frozen=True)
class Finding:
    """One problem: its kind (key of `KINDS`), what is wrong, and where."""

    kind: str
    problem: str
    place: Place = SET

    @property
    def severity(self) -> str:
        """Return "error" or "warning"."""
        return KINDS[self.kind].severity

    def line(self) -> str:
        """Return place, problem and what to do: ``annotation id 7, image id 3 (a.png): ...``."""
        place = str(self.place)
        told = f"{place + ': ' if place else ''}{self.problem}: {KINDS[self.kind].advice}"
        return printable(told)

    def as_json(self) -> Json:
        """Return everything that is known, for a report file."""
        known = {name: value for name, value in asdict(self.place).items() if value is not None}
        told = {"severity": self.severity, "kind": self.kind, "problem": self.problem}
        return told | known | {"advice": KINDS[self.kind].advice}

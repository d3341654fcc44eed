"""The rules of the COCO check: every kind of problem, and one problem at one location.

`KINDS` is the one list of rules for training and for ``stageinteractor check``. A kind is an error
if training refuses the set or loses objects, or if results would be wrong; otherwise it is a
warning.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ...printable_text import printable

Json = dict[str, Any]
ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Kind:
    """A kind of problem."""

    name: str
    severity: str
    advice: str
    stops_training: bool = False


def _fatal(name: str, advice: str) -> Kind:
    return Kind(name, ERROR, advice, stops_training=True)


TO_TRAIN_ON = (
    "training skips images without objects: annotate some, or set "
    "dataloader.train.dataset.filter_empty=false"
)
KINDS = {
    # training refuses the file
    "no_images": _fatal("no images", "list the images"),
    "no_categories": _fatal("no categories", "list at least one class"),
    "malformed": _fatal("incomplete entry", "complete or remove it"),
    "invalid_id": _fatal("id that is not an integer", "use an integer"),
    "invalid_name": _fatal("name that cannot be encoded", "rename it"),
    "repeated_image_id": _fatal("duplicate image id", "make it unique"),
    "repeated_category_id": _fatal("duplicate category id", "make it unique"),
    "repeated_annotation_id": _fatal("duplicate annotation id", "make it unique"),
    "unknown_category": _fatal("unknown category", "add the category or remove the annotation"),
    "unknown_image": _fatal("unknown image", "add the image or remove the annotation"),
    "invalid_iscrowd": _fatal("iscrowd is neither 0 nor 1", "set it to 0 or 1"),
    "invalid_area": _fatal("area is not a number", "set it in pixels or remove it"),
    "invalid_size": _fatal("invalid image size", "set width and height to those of the file"),
    # training refuses the set when it looks for the images, or an image when it reads it
    "missing_image": Kind("image missing", ERROR, "restore the file or remove the image"),
    "backslashes": Kind(
        "Windows path",
        ERROR,
        "write it relative to the image folder, with forward slashes, as "
        "stageinteractor check --fix does",
    ),
    "unreadable_image": Kind("image unreadable", ERROR, "repair the file or remove the image"),
    "other_size": Kind(
        "image size differs", ERROR, "set width and height to those of the file; adapt the boxes"
    ),
    "exif_size": Kind(
        "image size before EXIF rotation", ERROR, "rotate size and boxes as the image is rotated"
    ),
    # there is nothing to train on, the file is refused (_fatal), boxes are left out, or results
    # would be wrong, which training logs
    "no_annotations": Kind("no annotations", ERROR, TO_TRAIN_ON),
    "only_crowds": Kind("crowds only", ERROR, TO_TRAIN_ON),
    "looks_xyxy": _fatal("boxes look like corners", "write boxes as x, y, width, height"),
    "looks_relative": _fatal("boxes look relative", "write boxes in pixels"),
    "box_not_numbers": Kind("box is not four finite numbers", ERROR, "correct or remove it"),
    "box_negative": Kind("box of negative size", ERROR, "its corners are swapped: swap them back"),
    "box_empty": Kind("box without width or height", ERROR, "correct or remove it"),
    "box_outside": Kind("box outside the image", ERROR, "correct or remove it"),
    "zero_area": Kind("area is not positive", ERROR, "set it in pixels or remove it"),
    "repeated_file": Kind("image listed twice", ERROR, "merge the entries"),
    # training works
    "box_across": Kind("box over the edge", WARNING, "clip it to the image"),
    "same_box": Kind("duplicate box", WARNING, "remove one"),
    "crowded": Kind(
        "more objects than queries",
        WARNING,
        "raise model.queries.num_queries, or cut the image into tiles",
    ),
    "exif": Kind(
        "EXIF rotation", WARNING, "the image is rotated on reading; the boxes must fit the result"
    ),
    "no_id": Kind("annotation without id", WARNING, "training assigns one"),
    "id_0": Kind(
        "annotation id 0", WARNING, "pycocotools counts it as missed: start numbering at 1"
    ),
    "no_box": Kind("no box", WARNING, "the box of its segmentation is used"),
    "text_id": Kind("text as id", WARNING, "it is used as it is; other tools may need an integer"),
    "no_area": Kind("no area", WARNING, "width times height is used"),
    "large_area": Kind(
        "area larger than the box", WARNING, "AP by size would be wrong: correct it"
    ),
    "unused_category": Kind("category without objects", WARNING, "remove it if it is not needed"),
    "repeated_name": Kind(
        "duplicate category name", WARNING, "they are separate classes: rename one or merge them"
    ),
}


@dataclass(frozen=True)
class Location:
    """Where a problem is: ids of entries (None: no such entry, or it has none).

    Args:
        entry: position of an entry without id, for instance "number 4 of 'images'".
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
    def of_image(cls, image: Json) -> Location:
        """Return the location of an image entry."""
        return cls(image_id=image.get("id"), file_name=image.get("file_name"))

    @classmethod
    def of_category(cls, category: Json) -> Location:
        """Return the location of a category entry."""
        return cls(category_id=category.get("id"))

    @classmethod
    def of_annotation(cls, annotation: Json, image: Json | None = None) -> Location:
        """Return the location of an annotation entry; without ``image``, only that image's id."""
        image = image or {"id": annotation.get("image_id")}
        return cls(annotation.get("id"), None, image["id"], image.get("file_name"))


SET = Location()  # the set as a whole


@dataclass(frozen=True)
class Finding:
    """One problem: its kind (key of `KINDS`), what is wrong, and where."""

    kind: str
    problem: str
    location: Location = SET

    @property
    def severity(self) -> str:
        """Return "error" or "warning"."""
        return KINDS[self.kind].severity

    def line(self) -> str:
        """Return location, problem and advice: ``annotation id 7, image id 3 (a.png): ...``."""
        location = str(self.location)
        text = f"{location + ': ' if location else ''}{self.problem}: {KINDS[self.kind].advice}"
        return printable(text)

    def as_json(self) -> Json:
        """Return all fields that are set, for a report file."""
        location = {
            name: value for name, value in asdict(self.location).items() if value is not None
        }
        text = {"severity": self.severity, "kind": self.kind, "problem": self.problem}
        return text | location | {"advice": KINDS[self.kind].advice}

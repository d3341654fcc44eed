"""Consecutive ids for COCO's evaluation, for ids of any kind in a user's files.

The backends require numbers, and the fast one stores them as doubles: it refuses text ids, and ids
from 2**53 up collide. Images and categories are therefore numbered from 1 for the evaluation only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pycocotools import mask

from ..data.coco_format import in_order
from ..errors import DataError
from .coco_results import Json


class Numbering:
    """The numbers of a set's images and categories, each from 1, in the order of their ids.

    COCO's evaluation sorts images by id. Numbers in the order of the ids keep the order of
    detections of equal score.

    Args:
        dataset: COCO's layout: "images", "annotations" and "categories".
    """

    def __init__(self, dataset: Json) -> None:
        self.images = _numbers(dataset["images"])
        self.categories = _numbers(dataset["categories"])

    def dataset(self, dataset: Json) -> Json:
        """Return a copy of the set with numbers as ids."""
        return {
            "images": [each | {"id": self.images[each["id"]]} for each in dataset["images"]],
            "categories": [
                each | {"id": self.categories[each["id"]]} for each in dataset["categories"]
            ],
            "annotations": self._entries(dataset["annotations"]),
        }

    def detections(self, results: Iterable[Json], iou_type: str = "bbox") -> list[Json]:
        """Return detections in COCO's results format as annotations with numbers as ids.

        Args:
            iou_type: "segm" keeps the masks, whose area counts.

        Raises:
            DataError: an image or category that is not in the set.
        """
        shape = {"bbox": _box, "segm": _mask}[iou_type]
        scored = (
            {key: result[key] for key in ("image_id", "category_id", "score")}
            | {"iscrowd": 0}
            | shape(result)
            for result in results
        )
        return self._entries(scored)

    def image_numbers(self, image_ids: Sequence[Any]) -> list[int]:
        """Return the numbers of images."""
        return [self.images[image_id] for image_id in image_ids]

    def _entries(self, entries: Iterable[Json]) -> list[Json]:
        return [
            entry
            | {
                "id": number,
                "image_id": _look_up(self.images, entry, "image_id"),
                "category_id": _look_up(self.categories, entry, "category_id"),
            }
            for number, entry in enumerate(entries, start=1)
        ]


def consecutive(ids: Sequence[Any]) -> list[int]:
    """Return a number from 0 for every id, the same for equal ids; ids may exceed any dtype."""
    numbers = {value: number for number, value in enumerate(dict.fromkeys(ids))}
    return [numbers[value] for value in ids]


def _box(result: Json) -> Json:
    return {"bbox": result["bbox"], "area": result["bbox"][2] * result["bbox"][3]}


def _mask(result: Json) -> Json:
    outline = result["segmentation"]
    return {"bbox": result["bbox"], "segmentation": outline, "area": float(mask.area(outline))}


def _numbers(entries: Sequence[Json]) -> dict[Any, int]:
    ids = in_order(entry["id"] for entry in entries)
    return {value: number for number, value in enumerate(ids, start=1)}


def _look_up(numbers: dict[Any, int], entry: Json, name: str) -> int:
    try:
        return numbers[entry[name]]
    except KeyError:
        raise DataError(
            f"a detection or annotation has {name} {entry[name]!r}, which the ground truth does "
            "not list"
        ) from None

"""Ground truth beside detections, for images of a COCO-format set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ..data.coco_format import CocoSet
from ..data.image_io import ImageReadError, read_image
from ..data.image_store import locate
from ..data.segmentation import decode_mask
from ..errors import DataError
from ..evaluation.coco_results import Json, group_by_image
from .box_drawing import DrawnBox, draw_boxes, image_grid

WIDTH = 320  # pixels of a drawn image


def ground_truth_sheet(
    coco_set: CocoSet, image_root: str | Path, count: int = 24, columns: int = 6
) -> Image.Image:
    """Return a sheet of the first images with their annotations."""
    truth = group_by_image(coco_set.annotations)
    drawn = [
        _drawn(image, image_root, truth[image["id"]], coco_set) for image in coco_set.images[:count]
    ]
    return image_grid(drawn, columns)


def comparison_grid(
    coco_set: CocoSet,
    image_root: str | Path,
    results: Sequence[Json],
    min_score: float = 0.3,
    count: int = 12,
    pairs: int = 3,
) -> Image.Image:
    """Return a grid of images, each with ground truth on the left and detections on the right.

    Args:
        coco_set: the annotated images; those shown are spread evenly over it.
        results: detections in COCO's results format.
    """
    truth = group_by_image(coco_set.annotations)
    detected = group_by_image(each for each in results if each["score"] >= min_score)
    total = len(coco_set.images)
    count = min(count, total)
    drawn = []
    for image in (coco_set.images[index * total // count] for index in range(count)):
        drawn.append(_drawn(image, image_root, truth[image["id"]], coco_set))
        drawn.append(_drawn(image, image_root, detected[image["id"]], coco_set))
    titles = ["ground truth", f"detections, score >= {min_score}"] * pairs
    return image_grid(drawn, 2 * pairs, titles)


def _drawn(
    image: Json, image_root: str | Path, entries: Sequence[Json], coco_set: CocoSet
) -> Image.Image:
    names, class_of_category = coco_set.class_names, coco_set.class_of_category
    boxes = []
    for entry in sorted(entries, key=lambda entry: entry.get("score", 1.0)):
        x, y, width, height = entry["bbox"]
        index = class_of_category[entry["category_id"]]
        name = "crowd" if entry.get("iscrowd") else names[index]
        score = f" {entry['score']:.2f}" if "score" in entry else ""
        mask = decode_mask(entry.get("segmentation"), image["height"], image["width"])
        xyxy = (x, y, x + width, y + height)
        boxes.append(DrawnBox(xyxy, index, name + score, mask=mask))
    upright = read_upright(image, image_root)
    return draw_boxes(upright, boxes, WIDTH / upright.width)


def read_upright(image: Json, image_root: str | Path) -> Image.Image:
    """Read an image of a set, with its EXIF orientation applied, as the detector receives it.

    Raises:
        DataError: it cannot be read.
    """
    path = locate(image_root, image["file_name"])
    try:
        return read_image(path)
    except ImageReadError as error:
        raise DataError(
            f"{path} (image id {image['id']}): {error.reason}; is the folder of the images right?"
        ) from error

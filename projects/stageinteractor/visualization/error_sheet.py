"""A sheet of one error type: the worst images, ground truth beside detections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ..data.coco_format import CocoSet
from ..evaluation.coco_results import Json, group_by_image
from ..evaluation.error_types import ERROR_TYPES, Outcome
from ..printable_text import printable
from .box_drawing import BACKGROUND, DrawnBox, draw_boxes, image_grid
from .detections import read_upright

Color = tuple[int, int, int]
SIDE = 480  # pixels of the longer side of a drawn image
COLUMNS = 2  # images in a row, each drawn twice
GAP, HEAD = 18, 100  # pixels
AFFECTED: Color = (255, 213, 0)
GROUND_TRUTH: Color = (70, 150, 255)
ERROR: Color = (255, 84, 60)
CORRECT: Color = (40, 210, 120)
OTHER: Color = (170, 170, 170)
LEGEND = {
    AFFECTED: "affected object",
    GROUND_TRUTH: "other object",
    ERROR: "this error",
    CORRECT: "correct detection",
    OTHER: "detection with another error",
}
NOT_SHOWN = {"Miss": ERROR, "Bkg": AFFECTED}


def worst_images(outcomes: Mapping[Any, Sequence[Outcome]], error_type: str) -> list[Any]:
    """Return the ids of the images with errors of a type, the worst first.

    Images are ordered by the sum of their errors' scores (a missed object counts 1), then by the
    area of the affected objects.
    """

    def badness(image_id: Any) -> tuple[float, float]:
        errors = [each for each in outcomes[image_id] if each.type == error_type]
        weight = sum(error.detection["score"] if error.detection else 1.0 for error in errors)
        area = sum(error.annotation["area"] for error in errors if error.annotation)
        return -weight, -area

    having = [i for i, each in outcomes.items() if any(o.type == error_type for o in each)]
    return sorted(having, key=badness)


def error_sheet(
    coco_set: CocoSet,
    image_root: str | Path,
    outcomes: Mapping[Any, Sequence[Outcome]],
    error_type: str,
    min_score: float = 0.3,
    count: int = 12,
) -> Image.Image | None:
    """Return a sheet of the worst images of an error type; None if no image has it.

    Every image is drawn twice: with its objects on the left, with its detections on the right. Its
    file name and its errors of this type are written below.

    Raises:
        DataError: an image cannot be read.
    """
    images = {image["id"]: image for image in coco_set.images}
    worst = worst_images(outcomes, error_type)
    if not worst:
        return None
    truth = group_by_image(coco_set.annotations)
    cards = [
        _card(images[each], image_root, truth[each], outcomes[each], error_type, coco_set)
        for each in worst[:count]
    ]
    total = sum(each.type == error_type for image in outcomes.values() for each in image)
    title = (
        f"{error_type}: {total} in {len(worst)} of {len(outcomes)} images; "
        f"the {len(cards)} worst, objects left, detections right"
    )
    legend = {color: text for color, text in LEGEND.items() if color != NOT_SHOWN.get(error_type)}
    meaning = f"{ERROR_TYPES[error_type]} (detections with a score of at least {min_score:g})"
    rows = [
        image_grid(cards[i : i + COLUMNS], COLUMNS, gap=GAP) for i in range(0, len(cards), COLUMNS)
    ]
    return _with_head(rows, title, meaning, legend)


def _card(
    image: Json,
    image_root: str | Path,
    gt: Sequence[Json],
    outcomes: Sequence[Outcome],
    error_type: str,
    coco_set: CocoSet,
) -> Image.Image:
    """Return an image drawn twice, above a line of text."""
    names = coco_set.names_of_categories
    errors = [outcome for outcome in outcomes if outcome.type == error_type]
    sides = _gt_boxes(gt, errors, names), _detection_boxes(outcomes, error_type, names)
    upright = read_upright(image, image_root)
    scale = SIDE / max(upright.size)
    drawn = [draw_boxes(upright, boxes, scale, text_above=True) for boxes in sides]
    texts = [_long(error, names) for error in errors]
    return _with_caption(image_grid(drawn, 2), [image["file_name"], *texts])


def _gt_boxes(
    gt: Sequence[Json], errors: Sequence[Outcome], names: Mapping[int, str]
) -> list[DrawnBox]:
    """Return the ground truth to draw, affected objects last, on top."""
    affected = {id(error.annotation) for error in errors}
    return [
        _box(entry, names[entry["category_id"]], AFFECTED, 3)
        if id(entry) in affected
        else _box(entry, "crowd" if entry["iscrowd"] else "", GROUND_TRUTH, 2)
        for entry in sorted(gt, key=lambda entry: id(entry) in affected)
    ]


def _detection_boxes(
    outcomes: Sequence[Outcome], error_type: str, names: Mapping[int, str]
) -> list[DrawnBox]:
    """Return the detections to draw, errors of the type last, the best score on top."""
    boxes = []
    for outcome in sorted(reversed(outcomes), key=lambda outcome: outcome.type == error_type):
        if outcome.detection is None:
            continue
        if outcome.type == error_type:
            boxes.append(_box(outcome.detection, _short(outcome.detection, names), ERROR, 3))
        else:
            color = CORRECT if outcome.type == "correct" else OTHER
            boxes.append(_box(outcome.detection, "", color, 2))
    return boxes


def _box(entry: Json, text: str, color: Color, width: int) -> DrawnBox:
    x, y, w, h = entry["bbox"]
    return DrawnBox((x, y, x + w, y + h), 0, text, color, width)


def _short(detection: Json, names: Mapping[int, str]) -> str:
    return f"{names[detection['category_id']]} {detection['score']:.2f}"


def _long(outcome: Outcome, names: Mapping[int, str]) -> str:
    """Describe an outcome in a few words."""
    true = names[outcome.annotation["category_id"]] if outcome.annotation else ""
    if outcome.detection is None:
        assert outcome.annotation is not None
        _, _, width, height = outcome.annotation["bbox"]
        return f"{true}, {width:.0f}x{height:.0f} pixels"
    text = _short(outcome.detection, names)
    if outcome.annotation is None:
        return text
    wrong = outcome.detection["category_id"] != outcome.annotation["category_id"]
    return f"{text}{f' for {true}' if wrong else ''}, IoU {outcome.iou:.2f}"


def _with_caption(image: Image.Image, parts: Sequence[str]) -> Image.Image:
    """Add a line of text below an image, as much of it as fits."""
    font = ImageFont.load_default(15)
    card = Image.new("RGB", (image.width, image.height + 24), BACKGROUND)
    card.paste(image)
    draw = ImageDraw.Draw(card)
    text, *others = map(printable, parts)
    for number, part in enumerate(others, start=1):
        longer = f"{text}{':  ' if number == 1 else ';  '}{part}"
        rest = len(parts) - number
        if draw.textlength(longer, font=font) > image.width - 90:
            text += f" and {rest} more" if number > 1 else ""
            break
        text = longer
    draw.text((2, image.height + 3), text, fill=(0, 0, 0), font=font)
    return card


def _with_head(
    rows: Sequence[Image.Image], title: str, meaning: str, legend: Mapping[Color, str]
) -> Image.Image:
    """Stack rows below a title, the meaning of the error type and the legend."""
    width = max(960, *(row.width for row in rows))
    height = sum(row.height + GAP for row in rows)
    sheet = Image.new("RGB", (width + 24, HEAD + height), BACKGROUND)
    y = HEAD
    for row in rows:
        sheet.paste(row, (12, y))
        y += row.height + GAP
    draw = ImageDraw.Draw(sheet)
    draw.text((12, 8), title, fill=(0, 0, 0), font=ImageFont.load_default(22))
    font = ImageFont.load_default(16)
    draw.text((12, 40), meaning, fill=(70, 70, 70), font=font)
    x = 12
    for color, text in legend.items():
        draw.rectangle((x, 70, x + 22, 86), fill=color, outline=(90, 90, 90))
        draw.text((x + 29, 68), text, fill=(0, 0, 0), font=font)
        x += 29 + round(draw.textlength(text, font=font)) + 26
    return sheet

"""A sheet for a kind of error: the images with most of it, ground truth beside predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ..data.coco_format import CocoSet
from ..evaluation.errors_by_kind import KINDS, Finding
from ..printable_text import printable
from .boxes import BACKGROUND, DrawnBox, draw_boxes, image_grid
from .detections import read_upright

Json = dict[str, Any]
Color = tuple[int, int, int]
SIDE = 480  # pixels of the longer side of a drawn picture
COLUMNS = 2  # images beside each other, each twice
GAP, HEAD = 18, 100  # pixels
CONCERNED: Color = (255, 213, 0)
OBJECT: Color = (70, 150, 255)
ERROR: Color = (255, 84, 60)
CORRECT: Color = (40, 210, 120)
OTHER: Color = (170, 170, 170)
LEGEND = {
    CONCERNED: "object concerned",
    OBJECT: "other object",
    ERROR: "this error",
    CORRECT: "correct detection",
    OTHER: "detection with another error",
}
NOT_SHOWN = {"missed": ERROR, "background": CONCERNED}


def worst_images(found: Mapping[Any, Sequence[Finding]], kind: str) -> list[Any]:
    """Return the ids of the images with errors of a kind, the worst first.

    The worst is the one whose errors' scores add up to most, or for missed objects, which have no
    score, the one with most of them; of equal ones that with the larger objects.
    """

    def badness(image_id: Any) -> tuple[float, float]:
        errors = [finding for finding in found[image_id] if finding.kind == kind]
        weight = sum(error.detection["score"] if error.detection else 1.0 for error in errors)
        area = sum(error.annotation["area"] for error in errors if error.annotation)
        return -weight, -area

    having = [i for i, findings in found.items() if any(f.kind == kind for f in findings)]
    return sorted(having, key=badness)


def error_sheet(
    coco_set: CocoSet,
    image_root: str | Path,
    found: Mapping[Any, Sequence[Finding]],
    kind: str,
    min_score: float = 0.3,
    count: int = 12,
) -> Image.Image | None:
    """Return a sheet of the worst images of a kind of error; None if no image has it.

    Every image stands there twice: with its objects on the left, with its detections on the right;
    below it, its file name and its errors of this kind.

    Args:
        coco_set: the annotated images.
        image_root: folder of the images.
        found: findings of every image, of `find_errors`.
        kind: a key of ``KINDS`` other than "correct".
        min_score: with which the findings were made; it is told on the sheet.
        count: number of images.

    Raises:
        DataError: an image cannot be read.
    """
    images = {image["id"]: image for image in coco_set.images}
    worst = worst_images(found, kind)
    if not worst:
        return None
    truth: dict[Any, list[Json]] = {image_id: [] for image_id in worst[:count]}
    for annotation in coco_set.annotations:
        if annotation["image_id"] in truth:
            truth[annotation["image_id"]].append(annotation)
    cards = [
        _card(images[image_id], image_root, objects, found[image_id], kind, coco_set)
        for image_id, objects in truth.items()
    ]
    total = sum(finding.kind == kind for findings in found.values() for finding in findings)
    title = (
        f"{kind.replace('_', ' ')}: {total} in {len(worst)} of {len(found)} images; "
        f"the {len(cards)} worst of them, objects left, detections right"
    )
    legend = {color: text for color, text in LEGEND.items() if color != NOT_SHOWN.get(kind)}
    meaning = f"{KINDS[kind]} (detections with a score of at least {min_score:g})"
    rows = [
        image_grid(cards[i : i + COLUMNS], COLUMNS, gap=GAP) for i in range(0, len(cards), COLUMNS)
    ]
    return _with_head(rows, title, meaning, legend)


def _card(
    image: Json,
    image_root: str | Path,
    objects: Sequence[Json],
    findings: Sequence[Finding],
    kind: str,
    coco_set: CocoSet,
) -> Image.Image:
    """Return an image twice, and a line of text below."""
    names = coco_set.names_of_categories
    errors = [finding for finding in findings if finding.kind == kind]
    sides = _object_boxes(objects, errors, names), _detection_boxes(findings, kind, names)
    upright = read_upright(image, image_root)
    scale = SIDE / max(upright.size)
    pictures = [draw_boxes(upright, boxes, scale, text_above=True) for boxes in sides]
    texts = [_long(error, names) for error in errors]
    return _with_caption(image_grid(pictures, 2), [image["file_name"], *texts])


def _object_boxes(
    objects: Sequence[Json], errors: Sequence[Finding], names: Mapping[int, str]
) -> list[DrawnBox]:
    """Return the objects to draw, those that errors concern last, on top."""
    concerned = {id(finding.annotation) for finding in errors}
    return [
        _box(entry, names[entry["category_id"]], CONCERNED, 3)
        if id(entry) in concerned
        else _box(entry, "crowd" if entry["iscrowd"] else "", OBJECT, 2)
        for entry in sorted(objects, key=lambda entry: id(entry) in concerned)
    ]


def _detection_boxes(
    findings: Sequence[Finding], kind: str, names: Mapping[int, str]
) -> list[DrawnBox]:
    """Return the detections to draw, errors of the kind last, the best score on top."""
    boxes = []
    for finding in sorted(reversed(findings), key=lambda finding: finding.kind == kind):
        if finding.detection is None:
            continue
        if finding.kind == kind:
            boxes.append(_box(finding.detection, _short(finding.detection, names), ERROR, 3))
        else:
            color = CORRECT if finding.kind == "correct" else OTHER
            boxes.append(_box(finding.detection, "", color, 2))
    return boxes


def _box(entry: Json, text: str, color: Color, width: int) -> DrawnBox:
    x, y, w, h = entry["bbox"]
    return DrawnBox((x, y, x + w, y + h), 0, text, color, width)


def _short(detection: Json, names: Mapping[int, str]) -> str:
    return f"{names[detection['category_id']]} {detection['score']:.2f}"


def _long(finding: Finding, names: Mapping[int, str]) -> str:
    """Say in a few words what a finding is about."""
    true = names[finding.annotation["category_id"]] if finding.annotation else ""
    if finding.detection is None:
        assert finding.annotation is not None
        _, _, width, height = finding.annotation["bbox"]
        return f"{true}, {width:.0f}x{height:.0f} pixels"
    text = _short(finding.detection, names)
    if finding.annotation is None:
        return text
    wrong = finding.detection["category_id"] != finding.annotation["category_id"]
    return f"{text}{f' for {true}' if wrong else ''}, IoU {finding.iou:.2f}"


def _with_caption(picture: Image.Image, parts: Sequence[str]) -> Image.Image:
    """Add a line of text below a picture, as much of it as there is room for."""
    font = ImageFont.load_default(15)
    card = Image.new("RGB", (picture.width, picture.height + 24), BACKGROUND)
    card.paste(picture)
    draw = ImageDraw.Draw(card)
    text, *others = map(printable, parts)
    for number, part in enumerate(others, start=1):
        longer = f"{text}{':  ' if number == 1 else ';  '}{part}"
        rest = len(parts) - number
        if draw.textlength(longer, font=font) > picture.width - 90:
            text += f" and {rest} more" if number > 1 else ""
            break
        text = longer
    draw.text((2, picture.height + 3), text, fill=(0, 0, 0), font=font)
    return card


def _with_head(
    rows: Sequence[Image.Image], title: str, meaning: str, legend: Mapping[Color, str]
) -> Image.Image:
    """Lay rows out below each other, under title, meaning of the kind and legend."""
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

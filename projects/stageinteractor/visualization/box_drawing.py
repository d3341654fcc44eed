"""Draw labelled boxes on images, and lay images out in a grid.

Pillow draws them: detectron2's Visualizer takes 20 times as long, and OpenCV's fonts, which
supervision uses, have no letters beyond ASCII.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..printable_text import printable

MASK_OPACITY = 0.45
BACKGROUND = (255, 255, 255)


class DrawnBox(NamedTuple):
    """A box to draw."""

    xyxy: tuple[float, float, float, float]  # pixels of the image
    class_index: int
    text: str
    color: tuple[int, int, int] | None = None  # None: `class_color`
    width: int = 2  # of the outline, pixels of the scaled image
    mask: np.ndarray | None = None  # (H, W) bool, of the image


def class_color(class_index: int) -> tuple[int, int, int]:
    """Return an RGB colour; colours of consecutive classes differ clearly."""
    hue = class_index * 0.618034 % 1.0  # steps of the golden ratio keep hues apart
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_boxes(
    image: Image.Image,
    boxes: Sequence[DrawnBox],
    scale: float = 1.0,
    text_above: bool = False,
) -> Image.Image:
    """Return a scaled RGB copy of an image with boxes, their masks and texts.

    Args:
        boxes: later ones are drawn over earlier ones.
        text_above: write text outside its box where there is room; otherwise inside.
    """
    size = round(image.width * scale), round(image.height * scale)
    canvas = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(max(10.0, min(size) / 26))
    for box in boxes:
        color = box.color or class_color(box.class_index)
        if box.mask is not None:
            opacity = Image.fromarray((box.mask * (255 * MASK_OPACITY)).astype(np.uint8))
            canvas.paste(color, (0, 0), opacity.resize(size, Image.Resampling.NEAREST))
        x0, y0, x1, y1 = _clamp(box.xyxy, scale, canvas.size)
        draw.rectangle((x0, y0, max(x0, x1), max(y0, y1)), outline=color, width=box.width)
        if not box.text:
            continue
        at, text = (x0 + 3, y0 + 2), printable(box.text)
        if text_above:
            _, _, *text_size = draw.textbbox((0, 0), text, font=font)
            at = _outside((x0, y0, x1, y1), text_size, canvas.size)
        left, top, right, bottom = draw.textbbox(at, text, font=font)
        draw.rectangle((left - 2, top - 2, right + 2, bottom + 2), fill=color)
        draw.text(at, text, fill=(0, 0, 0), font=font)
    return canvas


def _clamp(
    xyxy: Sequence[float], scale: float, image_size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Return a scaled box, clamped to one image size beyond each edge.

    Pillow's time grows with the outline: 1e30 pixels take minutes, 1e300 overflows.
    """
    x0, y0, x1, y1 = (
        min(max(value * scale, -length), 2 * length)
        for value, length in zip(xyxy, image_size * 2, strict=True)
    )
    return x0, y0, x1, y1


def _outside(
    box: tuple[float, ...], text_size: Sequence[float], image_size: tuple[int, int]
) -> tuple[float, float]:
    """Return the text position: above a box, else below it, else in it; always in the image."""
    (x0, y0, _, y1), (width, height) = box, text_size
    x = max(2, min(x0 + 2, image_size[0] - width - 3))
    for y in (y0 - height - 3, y1 + 3):
        if 0 <= y <= image_size[1] - height - 3:
            return x, y
    return x, max(0, y0) + 2


def image_grid(
    images: Sequence[Image.Image], columns: int, titles: Sequence[str] = (), gap: int = 6
) -> Image.Image:
    """Return a sheet of images, row by row, with ``titles`` above the columns.

    Raises:
        ValueError: no images.
    """
    if not images:
        raise ValueError("no images to lay out")
    columns = min(columns, len(images))
    width = max(image.width for image in images) + gap
    height = max(image.height for image in images) + gap
    header = 24 if titles else 0
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * width - gap, header + rows * height - gap), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles[:columns]):
        draw.text((column * width + 4, 4), title, fill=(0, 0, 0), font=ImageFont.load_default(14))
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        sheet.paste(image, (column * width, header + row * height))
    return sheet

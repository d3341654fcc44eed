"""Boxes, their texts, and grids of images."""

import numpy as np
import pytest
from PIL import Image

from stageinteractor.visualization.box_drawing import (
    DrawnBox,
    class_color,
    draw_boxes,
    image_grid,
)

GRAY, RED = (90, 90, 90), (255, 84, 60)
LARGE_GRAY = Image.new("RGB", (200, 100), GRAY)


def has_color(image: Image.Image, color: tuple[int, int, int]) -> bool:
    return bool((np.asarray(image.convert("RGB")) == color).all(-1).any())


def test_drawn_box_has_its_outline_and_color():
    color = class_color(3)
    image = draw_boxes(LARGE_GRAY, [DrawnBox((40, 20, 160, 90), 3, "")])
    assert image.size == (200, 100)
    for position in ((100, 20), (100, 90), (40, 80), (160, 50)):
        assert image.getpixel(position) == color
    for position in ((100, 50), (20, 50), (180, 50), (100, 95)):
        assert image.getpixel(position) == GRAY


@pytest.mark.parametrize(
    "box", [(-50, -50, 500, 500), (150, 80, 40, 20), (10, 10, 10, 10), (500, 500, 600, 600)]
)
def test_boxes_across_edges_or_inverted_can_be_drawn(box: tuple[float, ...]):
    assert draw_boxes(LARGE_GRAY, [DrawnBox(box, 0, "car")]).size == (200, 100)


@pytest.mark.parametrize("text_above", [False, True])
@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 1e308, 1e308),
        (0, 0, 10**30, 10**30),
        (1e300, 1e300, 1e300, 1e300),
        (-1e300, -1e300, 1e300, 1e300),
        (10**300, 0, 10**300 + 1, 1),
    ],
)
def test_boxes_far_beyond_the_image_are_drawn_fast(box: tuple[float, ...], text_above: bool):
    drawn = draw_boxes(Image.new("RGB", (60, 40)), [DrawnBox(box, 0, "cat")], 2.0, text_above)
    assert drawn.size == (120, 80)


# Text above boxes


def colored_rows(image: Image.Image, color: tuple[int, int, int]) -> tuple[int, int]:
    rows = (np.asarray(image) == color).all(-1).any(axis=1).nonzero()[0]
    return int(rows[0]), int(rows[-1])


@pytest.mark.parametrize(
    ("box", "above", "below"), [((40, 40, 160, 80), True, False), ((40, 2, 160, 60), False, True)]
)
def test_text_is_above_a_box_or_else_below_it(box, above: bool, below: bool):
    image = LARGE_GRAY
    drawn = draw_boxes(image, [DrawnBox(box, 0, "cat", RED)], text_above=True)
    first, last = colored_rows(drawn, RED)
    assert (first < box[1], last > box[3]) == (above, below)
    inside = drawn.crop((box[0] + 2, box[1] + 2, box[2] - 2, box[3] - 2))
    assert inside.getcolors() == [(inside.width * inside.height, GRAY)]


# Grids


def test_grid_without_images_is_refused():
    with pytest.raises(ValueError, match="no images"):
        image_grid([], 3)

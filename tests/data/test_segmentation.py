"""Boxes of annotations that have only polygons or a run-length encoded mask."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask

from stageinteractor.data.segmentation import box_of, with_box

POLYGON = [10, 5, 30, 5, 30, 15, 10.5, 15]


def rle_of(box: tuple[int, int, int, int], height: int = 40, width: int = 60) -> dict[str, Any]:
    """Uncompressed RLE of a filled box (x, y, w, h): columns one after another."""
    x, y, w, h = box
    pixels = np.zeros((height, width), dtype=np.uint8)
    pixels[y : y + h, x : x + w] = 1
    flat = pixels.T.ravel()
    changes = np.flatnonzero(np.diff(flat, prepend=0)).tolist()
    counts = np.diff([0, *changes, flat.size]).tolist()
    return {"size": [height, width], "counts": counts}


def compressed(rle: dict[str, Any]) -> dict[str, Any]:
    encoded = mask.frPyObjects(rle, *rle["size"])
    return {"size": rle["size"], "counts": encoded["counts"].decode()}


@pytest.mark.parametrize(
    "segmentation",
    [
        [POLYGON],
        [[10, 5, 12, 5, 12, 7], [20, 10, 30, 15, 20, 15]],
        rle_of((10, 5, 20, 10)),
        compressed(rle_of((10, 5, 20, 10))),
    ],
    ids=["polygon", "two polygons", "RLE", "compressed RLE"],
)
def test_box_of_a_segmentation(segmentation: Any):
    assert box_of(segmentation) == [10, 5, 20, 10]


MALFORMED = {
    "none": None,
    "text": "polygon",
    "empty": [],
    "flat": POLYGON,
    "two points": [[1, 1, 2, 2]],
    "odd": [[1, 1, 2, 2, 3, 3, 4]],
    "texts": [["1", "1", "2", "2", "3", "3"]],
    "NaN": [[1, 1, 2, 2, 3, float("nan")]],
    "no counts": {"size": [40, 60]},
    "no size": {"counts": [2400]},
    "no height": {"size": [0, 60], "counts": []},
    "huge": {"size": [10**9, 10**9], "counts": "0"},
    "negative size": {"size": [-40, -60], "counts": [2400]},
    "true size": {"size": [True, 60], "counts": [60]},
    "negative counts": {"size": [40, 60], "counts": [2500, -100]},
    "other sum": {"size": [40, 60], "counts": [0, 9999]},
    "empty text": {"size": [40, 60], "counts": ""},
    "unfinished number": {"size": [40, 60], "counts": "00o"},
    "other characters": {"size": [40, 60], "counts": "0 \x00é"},
    "number too long": {"size": [40, 60], "counts": "0" + "o" * 40 + "0"},
    "other sum in text": compressed(rle_of((10, 5, 20, 10))) | {"size": [40, 59]},
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_segmentations_give_no_box(name: str):
    assert box_of(MALFORMED[name]) is None


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=8))
def test_compressed_and_plain_counts_mean_the_same(counts: list[int]):
    rle = {"size": [1, sum(counts) or 1], "counts": counts}
    assert box_of(rle) == box_of(compressed(rle))


@given(st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=40))
def test_any_text_as_compressed_rle_is_safe(counts: str):
    box = box_of({"size": [40, 60], "counts": counts})
    assert box is None or (box[0] + box[2] <= 60 and box[1] + box[3] <= 40)


def test_a_box_that_is_there_is_kept():
    annotation = {"bbox": [1, 2, 3, 4], "segmentation": [POLYGON]}
    assert with_box(annotation) is annotation


@pytest.mark.parametrize("given", [{}, {"bbox": None}, {"bbox": []}])
def test_a_box_that_is_missing_is_filled_in(given: dict[str, Any]):
    annotation = given | {"segmentation": [POLYGON]}
    assert with_box(annotation)["bbox"] == [10, 5, 20, 10]
    assert annotation == given | {"segmentation": [POLYGON]}

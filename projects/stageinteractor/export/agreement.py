"""Compare the outputs of an exported file with those of the model.

Differences are relative to the largest value of the model's output. Logits and boxes of all queries
are compared element by element. Detections are compared as pairs of the same label, because two
detections of nearly equal score may be in another order, and the last of the top-k may be others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from tabulate import tabulate

from ..errors import StageInteractorError
from .formats import GraphOutputs
from .graph import Size

TOLERANCE = 1e-4  # of the largest value
RAW = ("logits", "query_boxes")


class DisagreementError(StageInteractorError):
    """The outputs of an exported file differ from those of the model."""


@dataclass(frozen=True)
class Agreement:
    """The result of the comparison for one image size."""

    size: Size
    differences: dict[str, float]  # largest difference relative to the largest value
    matched: int  # detections in both outputs
    unmatched: int  # in one output only, with a score high enough for both
    detections: int

    @property
    def holds(self) -> bool:
        """Whether all differences are small and no detection is missing or added."""
        small = all(value <= TOLERANCE for value in self.differences.values())  # not if NaN
        return small and self.unmatched == 0


def check_batch(size: Size, count: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images (count, 3, H, W), float32 in 0 to 255, and their sizes (count, 2), int64.

    The first has the whole size. The others have the smallest one with the same padding, to a
    multiple of ``step``: their results must not depend on what is beside them.
    """
    rng = np.random.default_rng(sum(size))
    height, width = size
    patches = rng.uniform(0, 220, (count, 3, -(-height // 16), -(-width // 16)))
    images = patches.repeat(16, 2).repeat(16, 3)[..., :height, :width]
    smallest = [(length - 1) // step * step + 1 for length in size]
    sizes = np.array([size] + [smallest] * (count - 1), dtype=np.int64)
    return (images + rng.uniform(0, 35, images.shape)).astype(np.float32), sizes


@torch.no_grad()
def eager_outputs(model: Any, image: np.ndarray) -> GraphOutputs:
    """Return the outputs of the model itself for an image (3, H, W).

    They are its detections, and the predictions of the last stage.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(image))
    (result,) = model([{"image": pixels}])
    normalised = model.normalize(pixels)
    output, _ = model.decode(model.pad([normalised]), [normalised])
    instances = result["instances"]
    values = {
        "boxes": instances.pred_boxes.tensor,
        "scores": instances.scores,
        "labels": instances.pred_classes,
        "logits": output.final_logits[0],
        "query_boxes": output.boxes[-1, 0],
    }
    return {name: value.numpy() for name, value in values.items()}


def compare(size: Size, expected: GraphOutputs, actual: GraphOutputs) -> Agreement:
    """Compare the outputs for one image."""
    differences = {name: _difference(expected[name], actual[name]) for name in RAW}
    box_unit, score_unit = (_largest(expected[name]) for name in ("boxes", "scores"))
    rows, columns = _pairs(expected, actual, box_unit, score_unit)
    boxes = np.abs(expected["boxes"][rows] - actual["boxes"][columns]).max(initial=0) / box_unit
    scores = (
        np.abs(expected["scores"][rows] - actual["scores"][columns]).max(initial=0) / score_unit
    )
    lowest = min(expected["scores"], default=-np.inf) + TOLERANCE * score_unit
    left = np.delete(expected["scores"], rows), np.delete(actual["scores"], columns)
    return Agreement(
        size=size,
        differences=differences | {"boxes": float(boxes), "scores": float(scores)},
        matched=len(rows),
        unmatched=int(sum((~(scores <= lowest)).sum() for scores in left)),
        detections=len(expected["scores"]),
    )


def _difference(expected: np.ndarray, actual: np.ndarray) -> float:
    if expected.shape != actual.shape:
        return float("inf")
    return float(np.abs(expected - actual).max(initial=0) / _largest(expected))


def _largest(values: np.ndarray) -> float:
    return max(float(np.abs(values).max(initial=0)), 1e-12)


def _pairs(
    expected: GraphOutputs, actual: GraphOutputs, box_unit: float, score_unit: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return indices of pairs with the same label, and box and score within the tolerance."""
    boxes = np.abs(expected["boxes"][:, None] - actual["boxes"][None]).max(axis=-1) / box_unit
    scores = np.abs(expected["scores"][:, None] - actual["scores"][None]) / score_unit
    distance = np.maximum(boxes, scores)  # (expected, actual)
    same = (expected["labels"][:, None] == actual["labels"][None]) & (distance <= TOLERANCE)
    rows, columns = linear_sum_assignment(np.where(same, distance, 1.0))
    kept = same[rows, columns]
    return rows[kept], columns[kept]


def agreement_table(results: Sequence[Agreement]) -> str:
    """Return the differences as text, one row per image size."""
    head = ["image", *(name.replace("_", " ") for name in results[0].differences), "detections"]
    rows = []
    for result in results:
        size = f"{result.size[0]}x{result.size[1]}"
        numbers = [f"{value:.1e}" for value in result.differences.values()]
        rows.append([size, *numbers, f"{result.matched} of {result.detections}"])
    return tabulate(rows, headers=head, disable_numparse=True)

"""Does an exported file compute what the model computes?

Differences are measured against the largest value of the model's own output. Logits and boxes of
all queries are compared number by number. Detections are compared as pairs of the same label: two
with nearly the same score may come in the other order, and the last ones that fit into the top-k
may be others.
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
from .formats import Outputs
from .graph import Size

TOLERANCE = 1e-4  # of the largest value
RAW = ("logits", "query_boxes")


class DisagreementError(StageInteractorError):
    """An exported file computes something else than the model it was made from."""


@dataclass(frozen=True)
class Agreement:
    """What was compared for one image size."""

    size: Size
    differences: dict[str, float]  # the largest difference over the largest value
    same: int  # detections that are in both outputs
    strays: int  # detections that are in one output only and strong enough to be in both
    detections: int

    @property
    def holds(self) -> bool:
        """Whether all differences are small, and no strong detection is missing or added."""
        small = all(value <= TOLERANCE for value in self.differences.values())  # not if NaN
        return small and self.strays == 0


def check_image(size: Size) -> np.ndarray:
    """Return an image (1, 3, H, W), float32 in 0 to 255: coloured patches and noise."""
    rng = np.random.default_rng(sum(size))
    height, width = size
    patches = rng.uniform(0, 220, (3, -(-height // 16), -(-width // 16)))
    image = patches.repeat(16, 1).repeat(16, 2)[:, :height, :width]
    return (image + rng.uniform(0, 35, image.shape)).astype(np.float32)[None]


@torch.no_grad()
def eager_outputs(model: Any, image: np.ndarray) -> Outputs:
    """Return what the model itself computes, detections the way a user gets them."""
    pixels = torch.from_numpy(image[0])
    (result,) = model([{"image": pixels}])
    normalised = model.normalize(pixels)
    output, _ = model.decode(model.pad([normalised]), [normalised])
    found = result["instances"]
    values = {
        "boxes": found.pred_boxes.tensor,
        "scores": found.scores,
        "labels": found.pred_classes,
        "logits": output.logits[-1, 0],
        "query_boxes": output.boxes[-1, 0],
    }
    return {name: value.numpy() for name, value in values.items()}


def compare(size: Size, wanted: Outputs, found: Outputs) -> Agreement:
    """Compare the outputs for one image.

    Args:
        size: of the image.
        wanted: of the model.
        found: of the file.
    """
    differences = {name: _difference(wanted[name], found[name]) for name in RAW}
    box_unit, score_unit = (_largest(wanted[name]) for name in ("boxes", "scores"))
    rows, columns = _pairs(wanted, found, box_unit, score_unit)
    boxes = np.abs(wanted["boxes"][rows] - found["boxes"][columns]).max(initial=0) / box_unit
    scores = np.abs(wanted["scores"][rows] - found["scores"][columns]).max(initial=0) / score_unit
    weak = min(wanted["scores"], default=-np.inf) + TOLERANCE * score_unit
    left = np.delete(wanted["scores"], rows), np.delete(found["scores"], columns)
    return Agreement(
        size=size,
        differences=differences | {"boxes": float(boxes), "scores": float(scores)},
        same=len(rows),
        strays=int(sum((~(scores <= weak)).sum() for scores in left)),
        detections=len(wanted["scores"]),
    )


def _difference(wanted: np.ndarray, found: np.ndarray) -> float:
    if wanted.shape != found.shape:
        return float("inf")
    return float(np.abs(wanted - found).max(initial=0) / _largest(wanted))


def _largest(values: np.ndarray) -> float:
    return max(float(np.abs(values).max(initial=0)), 1e-12)


def _pairs(
    wanted: Outputs, found: Outputs, box_unit: float, score_unit: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return which detections are the same: label, and box and score within the tolerance."""
    boxes = np.abs(wanted["boxes"][:, None] - found["boxes"][None]).max(axis=-1) / box_unit
    scores = np.abs(wanted["scores"][:, None] - found["scores"][None]) / score_unit
    far = np.maximum(boxes, scores)
    same = (wanted["labels"][:, None] == found["labels"][None]) & (far <= TOLERANCE)
    rows, columns = linear_sum_assignment(np.where(same, far, 1.0))
    kept = same[rows, columns]
    return rows[kept], columns[kept]


def agreement_table(results: Sequence[Agreement]) -> str:
    """Return the differences as text, a row an image size."""
    head = ["image", *(name.replace("_", " ") for name in results[0].differences), "detections"]
    rows = []
    for result in results:
        size = f"{result.size[0]}x{result.size[1]}"
        numbers = [f"{value:.1e}" for value in result.differences.values()]
        rows.append([size, *numbers, f"{result.same} of {result.detections}"])
    return tabulate(rows, headers=head, disable_numparse=True)

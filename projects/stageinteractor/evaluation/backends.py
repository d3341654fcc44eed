"""COCO's evaluation of boxes and masks by one of two backends, with ids of any kind."""

from __future__ import annotations

import contextlib
import io
import math
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ..data.coco_format import CocoSet
from ..errors import ConfigError
from ..packages import install_extra
from .numbering import Numbering

BACKENDS = ("auto", "pycocotools", "faster-coco-eval")


def choose_backend(name: str) -> str:
    """Return the name of the backend, with "auto" resolved.

    Raises:
        ConfigError: an unknown backend, or one that is not installed.
    """
    if name not in BACKENDS:
        raise ConfigError(f"evaluation backend {name!r}: choose one of {', '.join(BACKENDS)}")
    if name == "pycocotools":
        return name
    try:
        import faster_coco_eval  # noqa: F401
    except ImportError as error:
        if name == "auto":
            return "pycocotools"
        raise ConfigError(
            "evaluation backend 'faster-coco-eval' is not installed: "
            f"{install_extra('fast-eval')}, or choose 'pycocotools'"
        ) from error
    return "faster-coco-eval"


def ground_truth(coco_set: CocoSet) -> dict[str, list[dict[str, Any]]]:
    """Return a checked set in COCO's layout, with annotation ids from 1.

    COCO's matching uses the id 0 for "no match": a box of id 0 would count as missed.
    """
    numbered = [entry | {"id": i} for i, entry in enumerate(coco_set.annotations, start=1)]
    return coco_set.as_json() | {"annotations": numbered}


def coco_api(coco_set: CocoSet) -> COCO:
    """Return a checked set as an indexed `COCO` of pycocotools."""
    with contextlib.redirect_stdout(io.StringIO()):
        return _indexed(COCO, ground_truth(coco_set))


def evaluate_boxes(
    truth: COCO,
    results: list[dict[str, Any]],
    image_ids: list[Any],
    backend: str,
    iou_type: str = "bbox",
) -> COCOeval:
    """Run COCO's evaluation over some images and return it; its ``stats`` has the twelve numbers.

    In the result, images, categories and annotations are numbered from 1 in the order of their ids.

    Args:
        truth: an indexed set; ids are numbers of any size, or texts.
        results: detections in COCO's results format, with the ids of the set; may be empty.
        image_ids: images to evaluate, whether or not they have detections.
        backend: "pycocotools" or "faster-coco-eval".
        iou_type: "bbox", or "segm" for the IoU of masks; detections and annotations then have
            their "segmentation".

    Raises:
        DataError: a detection has an image or category that is not in the set.
    """
    make, measure = _classes(backend)
    numbering = Numbering(truth.dataset)
    dataset = numbering.dataset(truth.dataset)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = measure(
            _indexed(make, dataset),
            _indexed(make, dataset | {"annotations": numbering.detections(results, iou_type)}),
            iou_type,
        )
        evaluation.params.imgIds = numbering.image_numbers(image_ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def precision_array(evaluation: COCOeval) -> np.ndarray:
    """Return precision (T, R, K) in [0, 1] of an accumulated COCO evaluation; NaN: no ground truth.

    T IoU thresholds, R recall levels and K classes, for all areas and the highest number of
    detections per image.
    """
    precision = np.array(evaluation.eval["precision"][:, :, :, 0, -1], dtype=float)
    return np.where(precision < 0, math.nan, precision)


def class_ap(evaluation: COCOeval) -> tuple[np.ndarray, np.ndarray]:
    """Return AP and AP50 of every class (K,), per cent; NaN for classes without ground truth."""
    precision = precision_array(evaluation)
    half = threshold_index(evaluation, 0.5)
    return 100 * precision.mean(axis=(0, 1)), 100 * precision[half].mean(axis=0)


def threshold_index(evaluation: COCOeval, threshold: float) -> int:
    """Return the index of an IoU threshold in the evaluation."""
    return int(np.abs(np.asarray(evaluation.params.iouThrs) - threshold).argmin())


def _classes(backend: str) -> tuple[type, type]:
    """Return the `COCO` and `COCOeval` classes of a backend."""
    if backend == "pycocotools":
        return COCO, COCOeval
    from faster_coco_eval import COCO as FastCOCO
    from faster_coco_eval import COCOeval_faster

    return FastCOCO, COCOeval_faster


def _indexed(make: type, dataset: dict[str, list[dict[str, Any]]]) -> Any:
    api = make()
    api.dataset = dataset
    api.createIndex()
    return api

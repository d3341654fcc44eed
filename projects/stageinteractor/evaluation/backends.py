"""COCO's evaluation of boxes by one of two backends, on ids of any kind."""

from __future__ import annotations

import contextlib
import io
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ..data.coco_format import CocoSet
from ..errors import ConfigError
from .numbering import Numbering

BACKENDS = ("auto", "pycocotools", "faster-coco-eval")


def choose_backend(name: str) -> str:
    """Return the backend that "auto" stands for here, or the name itself.

    Raises:
        ConfigError: unknown, or not installed.
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
            "pip install 'stageinteractor[fast-eval]', or choose 'pycocotools'"
        ) from error
    return "faster-coco-eval"


def ground_truth(coco_set: CocoSet) -> dict[str, list[dict[str, Any]]]:
    """Return a checked set in COCO's layout, its annotations numbered from 1.

    COCO's matching takes the id 0 for "no match", and would call such an object missed.
    """
    numbered = [entry | {"id": i} for i, entry in enumerate(coco_set.annotations, start=1)]
    return coco_set.as_json() | {"annotations": numbered}


def coco_api(coco_set: CocoSet) -> COCO:
    """Return an indexed pycocotools object of a checked set."""
    with contextlib.redirect_stdout(io.StringIO()):
        return _indexed(COCO, ground_truth(coco_set))


def evaluate_boxes(
    truth: COCO, results: list[dict[str, Any]], image_ids: list[Any], backend: str
) -> COCOeval:
    """Run COCO's evaluation over some images; ``stats`` of what is returned has the numbers.

    Within it images, categories and annotations are numbered from 1 in the order of their ids.

    Args:
        truth: an indexed set; its ids are numbers of any size, or texts.
        results: detections in COCO's results format, with the set's own ids; may be none.
        image_ids: images to evaluate, whether or not they have detections.
        backend: "pycocotools" or "faster-coco-eval".

    Raises:
        DataError: a detection of an image or category that the set does not list.
    """
    make, measure = _classes(backend)
    numbering = Numbering(truth.dataset)
    dataset = numbering.dataset(truth.dataset)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = measure(
            _indexed(make, dataset),
            _indexed(make, dataset | {"annotations": numbering.detections(results)}),
            "bbox",
        )
        evaluation.params.imgIds = numbering.image_numbers(image_ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def _classes(backend: str) -> tuple[type, type]:
    """Return a backend's classes of an indexed set and of its evaluation."""
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

"""COCO average precision: detectron2's evaluator, a choice of backend, all twelve numbers."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
from pathlib import Path
from typing import Any

import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.catalog import Metadata
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from tabulate import tabulate

from ..data.coco_format import read_coco
from ..files import atomic_write_text
from .backends import choose_backend, coco_api, evaluate_boxes, ground_truth
from .evaluated_set import EvaluatedSet, save_evaluated_set
from .nms import apply_nms, check_nms_threshold

__all__ = ["TWELVE", "CocoEvaluator", "choose_backend", "coco_api", "evaluate_boxes"]
logger = logging.getLogger(__name__)
TWELVE = "AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl".split()  # per cent


class CocoEvaluator(COCOEvaluator):
    """Evaluate boxes by COCO's measures, over all processes.

    The ground truth is what `read_coco` makes of the file, which is kept as ``ground_truth.json``:
    boxes without area are left out, missing "area" and "iscrowd" are filled in. Where there is
    ground truth but no detection, AP and AR are 0; without ground truth, of a size or a class too,
    they are NaN.

    Args:
        dataset_name: of a registered COCO-format set.
        output_dir: folder for ``coco_instances_results.json``, ``ground_truth.json``,
            ``evaluated_set.json`` and ``metrics.json``.
        backend: "pycocotools" (the reference), "faster-coco-eval" (the same numbers in less time),
            or "auto": the fast one if it is installed.
        nms_threshold: evaluate the same detections a second time, after non-maximum suppression
            within each class at this IoU. The numbers are those of ``bbox_nms`` beside ``bbox``, in
            ``metrics_nms.json`` and ``coco_instances_results_nms.json`` beside the files above.

    Raises:
        ConfigError: unknown backend, or one that is not installed; no IoU.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str,
        backend: str = "auto",
        nms_threshold: float | None = None,
    ) -> None:
        self.backend = choose_backend(backend)
        check_nms_threshold(nms_threshold)
        self.nms_threshold = nms_threshold
        checked = f"{dataset_name}_checked"
        metadata = MetadataCatalog.get(dataset_name)
        self.json_file = metadata.json_file
        _register_checked(checked, metadata, Path(output_dir) / "ground_truth.json")
        super().__init__(checked, ("bbox",), output_dir=output_dir, use_fast_impl=False)
        self._image_ids = [record["image_id"] for record in DatasetCatalog.get(dataset_name)]

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Instances]]) -> None:
        """Keep the detections of a batch."""
        super().process(inputs, to_host(outputs))

    def _eval_predictions(self, predictions: list[dict[str, Any]], img_ids: Any = None) -> None:
        """Fill ``_results``; called by the parent on rank 0 with everyone's predictions."""
        category_of_class = {
            index: category
            for category, index in self._metadata.thing_dataset_id_to_contiguous_id.items()
        }
        results = list(itertools.chain(*[item["instances"] for item in predictions]))
        for result in results:
            result["category_id"] = category_of_class[result["category_id"]]
        threshold = self.nms_threshold
        left = None if threshold is None else apply_nms(results, threshold)
        self._report_nothing_to_measure(results)
        image_root = str(self._metadata.get("image_root", ""))
        evaluated = EvaluatedSet(str(self.json_file), image_root, self._image_ids)
        save_evaluated_set(self._output_dir, evaluated)
        self._evaluate(results, "", "box AP")
        if left is not None:
            self._evaluate(left, "_nms", f"box AP after NMS at IoU {threshold:g}")
        else:
            for path in self._files("_nms"):  # of an earlier evaluation
                path.unlink(missing_ok=True)

    def _files(self, suffix: str) -> tuple[Path, Path]:
        """Return where the detections and where the numbers are written."""
        folder = Path(self._output_dir)
        return folder / f"coco_instances_results{suffix}.json", folder / f"metrics{suffix}.json"

    def _report_nothing_to_measure(self, results: list[dict[str, Any]]) -> None:
        """Say why all numbers are going to be NaN or 0."""
        evaluated = set(self._image_ids)
        truth = self._coco_api.dataset["annotations"]
        if not any(not box["iscrowd"] and box["image_id"] in evaluated for box in truth):
            logger.warning(
                "no ground-truth boxes in the %d evaluated images of %s: there is nothing to "
                "measure, AP is NaN; annotate them, or set dataset.val.json to an annotated set",
                len(evaluated),
                self.json_file,
            )
        elif not results:
            logger.warning("no detections in %d images: AP is 0", len(evaluated))

    def _evaluate(self, results: list[dict[str, Any]], suffix: str, title: str) -> None:
        """Write and measure detections; the numbers are those of "bbox" with this suffix."""
        detections, metrics = self._files(suffix)
        atomic_write_text(detections, json.dumps(results))
        logger.info("saved %d detections to %s", len(results), detections)
        evaluation = evaluate_boxes(self._coco_api, results, self._image_ids, self.backend)
        with _quiet(logging.getLogger("detectron2")):  # it would print six of the twelve numbers
            per_class = self._derive_coco_results(
                evaluation, "bbox", class_names=self._metadata.thing_classes
            )
        stats = evaluation.stats[:12]
        numbers = {name: _per_cent(value) for name, value in zip(TWELVE, stats, strict=True)}
        numbers |= {name: value for name, value in per_class.items() if name not in numbers}
        self._results[f"bbox{suffix}"] = numbers
        atomic_write_text(metrics, json.dumps(numbers))
        rows = [[name, f"{value:.2f}"] for name, value in numbers.items()]
        table = tabulate(rows, headers=["metric", "%"], disable_numparse=True)
        logger.info("%s (%s):\n%s", title, self.backend, table)


def to_host(outputs: list[dict[str, Instances]]) -> list[dict[str, Instances]]:
    """Copy a batch of {"instances": Instances} to the host, which waits for the device once."""
    moved = []
    for output in outputs:
        instances = output["instances"]
        fields = {name: _begin_copy(value) for name, value in instances.get_fields().items()}
        moved.append(output | {"instances": Instances(instances.image_size, **fields)})
    if torch.cuda.is_available():
        torch.cuda.current_stream().synchronize()
    return moved


def _begin_copy(value: Any) -> Any:
    """Return what a field of `Instances` will be on the host, once the device has got there."""
    if isinstance(value, Boxes):
        return Boxes(value.tensor.to("cpu", non_blocking=True))
    return value.to("cpu", non_blocking=True) if isinstance(value, torch.Tensor) else value


def _register_checked(name: str, metadata: Metadata, file: Path) -> None:
    """Write the checked annotations to a file, once a machine, and name it in the catalogue."""
    if comm.get_local_rank() == 0:
        atomic_write_text(file, json.dumps(ground_truth(read_coco(metadata.json_file))))
    comm.synchronize()
    MetadataCatalog.pop(name, None)
    MetadataCatalog.get(name).set(**(metadata.as_dict() | {"name": name, "json_file": str(file)}))


def _per_cent(value: float) -> float:
    """COCO's -1 means that there is nothing to measure."""
    return 100.0 * float(value) if value >= 0 else float("nan")


@contextlib.contextmanager
def _quiet(log: logging.Logger):  # type: ignore[no-untyped-def]
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)

"""COCO average precision: detectron2's evaluator with a choice of backend and all 12 numbers."""

from __future__ import annotations

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
from pycocotools.cocoeval import COCOeval
from tabulate import tabulate

from ..data.coco_format import CocoSet, read_coco
from ..errors import ConfigError
from ..files import atomic_write_text
from .backends import choose_backend, class_ap, coco_api, evaluate_boxes, ground_truth
from .evaluated_set import EvaluatedSet, save_evaluated_set
from .nms import apply_nms, check_nms_threshold
from .score_thresholds import TASK, fit_thresholds, save_thresholds, score_curves

__all__ = ["TWELVE", "CocoEvaluator", "choose_backend", "coco_api", "evaluate_boxes"]
logger = logging.getLogger(__name__)
TITLES = {"bbox": "box AP", "segm": "mask AP"}
EXTRA_FILES = (
    *("coco_instances_results_nms.json", "metrics_nms.json"),
    *("metrics_segm.json", "metrics_segm_nms.json"),
)
TWELVE = "AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl".split()  # per cent


class CocoEvaluator(COCOEvaluator):
    """Evaluate boxes, and masks, by COCO's measures, over all processes.

    The ground truth is the annotation file as `read_coco` returns it: without boxes of zero area,
    missing "area" and "iscrowd" filled in. It is saved as ``ground_truth.json``. Without
    detections, AP and AR are 0; without ground truth (in all, of a size or of a class), NaN.

    The score thresholds of best F1 at IoU 0.5 are in ``score_thresholds.json``, and in the results
    as ``best_f1``: the F1 in per cent, the score over all classes, and one of each class.

    With masks the results are ``segm`` beside ``bbox``, also in ``metrics_segm.json``, and the
    detections have their masks as RLE.

    Args:
        output_dir: folder for ``coco_instances_results.json``, ``ground_truth.json``,
            ``evaluated_set.json`` and ``metrics.json``.
        backend: "pycocotools" (the reference), "faster-coco-eval" (the same numbers, faster), or
            "auto": the fast one if it is installed.
        nms_threshold: IoU at which the detections are also evaluated after NMS within each class.
            These results are ``bbox_nms`` beside ``bbox``, ``metrics_nms.json`` and
            ``coco_instances_results_nms.json``; the NMS is that of the boxes.
        masks: evaluate the ``pred_masks`` of the detections too.

    Raises:
        ConfigError: the backend is unknown or not installed, or ``nms_threshold`` is no IoU.
        DataError: masks are evaluated, and no annotation has one.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str,
        backend: str = "auto",
        nms_threshold: float | None = None,
        masks: bool = False,
    ) -> None:
        self.tasks = ("bbox", "segm") if masks else ("bbox",)
        self.backend = choose_backend(backend)
        check_nms_threshold(nms_threshold)
        self.nms_threshold = nms_threshold
        checked = f"{dataset_name}_checked"
        metadata = MetadataCatalog.get(dataset_name)
        self.json_file = metadata.json_file
        _register_checked(checked, metadata, Path(output_dir) / "ground_truth.json", masks)
        super().__init__(checked, self.tasks, output_dir=output_dir, use_fast_impl=False)
        self._image_ids = [record["image_id"] for record in DatasetCatalog.get(dataset_name)]

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Instances]]) -> None:
        """Add the detections of a batch.

        Raises:
            ConfigError: masks are evaluated, and the detections have none.
        """
        masks = "segm" in self.tasks
        if masks and not all(output["instances"].has("pred_masks") for output in outputs):
            raise ConfigError(
                "dataloader.evaluator.masks is true, but the model predicts no masks: set it to "
                "false"
            )
        super().process(inputs, to_host(outputs, masks))

    def _eval_predictions(self, predictions: list[dict[str, Any]], img_ids: Any = None) -> None:
        """Fill ``_results``; called by the parent on rank 0 with the predictions of all ranks."""
        category_of_class = {
            index: category
            for category, index in self._metadata.thing_dataset_id_to_contiguous_id.items()
        }
        results = list(itertools.chain(*[item["instances"] for item in predictions]))
        for result in results:
            result["category_id"] = category_of_class[result["category_id"]]
        self._warn_if_nothing_to_measure(results)
        image_root = str(self._metadata.get("image_root", ""))
        evaluated = EvaluatedSet(str(self.json_file), image_root, self._image_ids)
        save_evaluated_set(self._output_dir, evaluated)
        self._remove_earlier()
        self._evaluate(results, "", "")
        if self.nms_threshold is not None:
            kept = apply_nms(results, self.nms_threshold)
            self._evaluate(kept, "_nms", f" after NMS at IoU {self.nms_threshold:g}")
        self._fit_thresholds(results)

    def _remove_earlier(self) -> None:
        """Remove the files of an earlier evaluation that this one may not write."""
        for name in EXTRA_FILES:
            (Path(self._output_dir) / name).unlink(missing_ok=True)

    def _warn_if_nothing_to_measure(self, results: list[dict[str, Any]]) -> None:
        """Log why all numbers will be NaN or 0."""
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
        """Write detections and evaluate them; the names of the results get this suffix."""
        detections = Path(self._output_dir) / f"coco_instances_results{suffix}.json"
        atomic_write_text(detections, json.dumps(results))
        logger.info("saved %d detections to %s", len(results), detections)
        for task in self.tasks:
            evaluation = evaluate_boxes(
                self._coco_api, results, self._image_ids, self.backend, iou_type=task
            )
            numbers = self._numbers(evaluation)
            self._results[f"{task}{suffix}"] = numbers
            name = f"metrics{'' if task == 'bbox' else f'_{task}'}{suffix}.json"
            atomic_write_text(Path(self._output_dir) / name, json.dumps(numbers))
            rows = [[name, f"{value:.2f}"] for name, value in numbers.items()]
            table = tabulate(rows, headers=["metric", "%"], disable_numparse=True)
            logger.info("%s%s (%s):\n%s", TITLES[task], title, self.backend, table)

    def _fit_thresholds(self, results: list[dict[str, Any]]) -> None:
        """Write and log the score thresholds of best F1 of the evaluated images."""
        evaluated, truth = set(self._image_ids), self._coco_api.dataset
        coco_set = CocoSet(
            str(self.json_file),
            [image for image in truth["images"] if image["id"] in evaluated],
            truth["annotations"],
            truth["categories"],
        )
        names = coco_set.names_of_categories
        thresholds = fit_thresholds(score_curves(coco_set, results), names)
        save_thresholds(self._output_dir, thresholds)
        if thresholds is not None:
            self._results[TASK] = thresholds.metrics()
            best = thresholds.overall
            logger.info("best F1 %.1f %% at score %.3f", 100 * best.f1, best.score)

    def _numbers(self, evaluation: COCOeval) -> dict[str, float]:
        """Return the twelve numbers and the AP of every class, per cent."""
        stats = evaluation.stats[:12]
        numbers = {name: _per_cent(value) for name, value in zip(TWELVE, stats, strict=True)}
        # in the order of category ids, as the AP of classes
        order = sorted(self._metadata.thing_dataset_id_to_contiguous_id.items())
        names = [self._metadata.thing_classes[index] for _, index in order]
        if len(names) > 1:
            ap, _ = class_ap(evaluation)
            numbers |= {f"AP-{name}": float(value) for name, value in zip(names, ap, strict=True)}
        return numbers


def to_host(outputs: list[dict[str, Instances]], masks: bool = False) -> list[dict[str, Instances]]:
    """Copy a batch of {"instances": Instances} to the host with one synchronisation.

    Args:
        masks: with ``pred_masks``, as bool; without, they are left out.
    """
    moved = []
    for output in outputs:
        fields = dict(output["instances"].get_fields())
        predicted = fields.pop("pred_masks", None)
        if masks and predicted is not None:
            fields["pred_masks"] = predicted.bool()
        copies = {name: _begin_copy(value) for name, value in fields.items()}
        moved.append(output | {"instances": Instances(output["instances"].image_size, **copies)})
    if torch.cuda.is_available():
        torch.cuda.current_stream().synchronize()
    return moved


def _begin_copy(value: Any) -> Any:
    """Return a field of `Instances` on the host, valid after the next synchronisation."""
    if isinstance(value, Boxes):
        return Boxes(value.tensor.to("cpu", non_blocking=True))
    return value.to("cpu", non_blocking=True) if isinstance(value, torch.Tensor) else value


def _register_checked(name: str, metadata: Metadata, file: Path, masks: bool) -> None:
    """Write the checked annotations to a file, once per machine, and register it."""
    if comm.get_local_rank() == 0:
        checked = read_coco(metadata.json_file, masks=masks)
        atomic_write_text(file, json.dumps(ground_truth(checked)))
    comm.synchronize()
    MetadataCatalog.pop(name, None)
    MetadataCatalog.get(name).set(**(metadata.as_dict() | {"name": name, "json_file": str(file)}))


def _per_cent(value: float) -> float:
    """Return a value of COCO in per cent; its -1 for no ground truth becomes NaN."""
    return 100.0 * float(value) if value >= 0 else float("nan")

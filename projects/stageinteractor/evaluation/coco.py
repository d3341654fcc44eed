"""COCO average precision: detectron2's evaluator, a choice of backend, all twelve numbers."""

from __future__ import annotations

import contextlib
import io
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
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tabulate import tabulate

from ..data.coco_format import CocoSet, read_coco
from ..errors import ConfigError
from ..files import atomic_write_text
from .suppression import check_nms_threshold, suppress

logger = logging.getLogger(__name__)
BACKENDS = ("auto", "pycocotools", "faster-coco-eval")
TWELVE = "AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl".split()  # per cent


class CocoEvaluator(COCOEvaluator):
    """Evaluate boxes by COCO's measures, over all processes.

    The ground truth is what `read_coco` makes of the file, which is kept as ``ground_truth.json``:
    boxes without area are left out, missing "area" and "iscrowd" are filled in.

    Args:
        dataset_name: of a registered COCO-format set.
        output_dir: folder for ``coco_instances_results.json``, ``ground_truth.json`` and
            ``metrics.json``.
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
        left = None if threshold is None else suppress(results, threshold)
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

    def _evaluate(self, results: list[dict[str, Any]], suffix: str, title: str) -> None:
        """Write and measure detections; the numbers are those of "bbox" with this suffix."""
        detections, metrics = self._files(suffix)
        atomic_write_text(detections, json.dumps(results))
        logger.info("saved %d detections to %s", len(results), detections)
        evaluation = None
        if results and self._coco_api.dataset["annotations"]:
            evaluation = evaluate_boxes(self._coco_api, results, self._image_ids, self.backend)
        with _quiet(logging.getLogger("detectron2")):  # it would print six of the twelve numbers
            per_class = self._derive_coco_results(
                evaluation, "bbox", class_names=self._metadata.thing_classes
            )
        stats = [float("nan")] * 12 if evaluation is None else evaluation.stats[:12]
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


def _register_checked(name: str, metadata: Metadata, file: Path) -> None:
    """Write the checked annotations to a file, once a machine, and name it in the catalogue."""
    if comm.get_local_rank() == 0:
        atomic_write_text(file, json.dumps(ground_truth(read_coco(metadata.json_file))))
    comm.synchronize()
    MetadataCatalog.pop(name, None)
    MetadataCatalog.get(name).set(**(metadata.as_dict() | {"name": name, "json_file": str(file)}))


def ground_truth(coco_set: CocoSet) -> dict[str, list[dict[str, Any]]]:
    """Return a checked set in COCO's layout, its annotations numbered from 1.

    COCO's matching takes the id 0 for "no match", and would call such an object missed.
    """
    numbered = [entry | {"id": i} for i, entry in enumerate(coco_set.annotations, start=1)]
    return coco_set.as_json() | {"annotations": numbered}


def coco_api(coco_set: CocoSet) -> COCO:
    """Return an indexed pycocotools object of a checked set."""
    api = COCO()
    api.dataset = ground_truth(coco_set)
    with contextlib.redirect_stdout(io.StringIO()):
        api.createIndex()
    return api


def evaluate_boxes(
    truth: COCO, results: list[dict[str, Any]], image_ids: list[int], backend: str
) -> COCOeval:
    """Run COCO's evaluation over some images; ``stats`` of what is returned has the numbers.

    Args:
        truth: an indexed set.
        results: detections in COCO's results format, with the set's own category ids.
        image_ids: images to evaluate, whether or not they have detections.
        backend: "pycocotools" or "faster-coco-eval".
    """
    with contextlib.redirect_stdout(io.StringIO()):
        if backend == "pycocotools":
            evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        else:
            from faster_coco_eval import COCO as FastCOCO
            from faster_coco_eval import COCOeval_faster

            fast = FastCOCO(truth.dataset)
            evaluation = COCOeval_faster(fast, fast.loadRes(results), "bbox")
        evaluation.params.imgIds = image_ids
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


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

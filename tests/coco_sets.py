"""Annotated sets, detections of them, and their metrics by both backends."""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from omegaconf import OmegaConf

from stageinteractor.data.coco_format import CocoSet
from stageinteractor.data.registration import resolve_dataset
from stageinteractor.evaluation import CocoEvaluator
from stageinteractor.evaluation.coco import coco_api, evaluate_boxes

Json = dict[str, Any]
BOTH = ("pycocotools", "faster-coco-eval")
CATEGORIES = [{"id": 7, "name": "person"}, {"id": 19, "name": "car"}, {"id": 1000, "name": "dog"}]


def random_set(rng: np.random.Generator, faulty_boxes: bool = False) -> tuple[CocoSet, list[Json]]:
    """20 images, every fourth without annotations, and detections near the boxes and elsewhere."""
    images, annotations, results = [], [], []
    for image_id in range(1, 21):
        images.append({"id": image_id, "file_name": "-", "height": 400, "width": 400})
        detections = []
        for _ in range(0 if image_id % 4 == 0 else int(rng.integers(1, 9))):
            corner, size = rng.uniform(0, 200, 2), rng.choice([12, 60, 180]) * rng.uniform(0.6, 1.1)
            box = [*corner.tolist(), size, size * rng.uniform(0.7, 1.0)]
            if faulty_boxes and rng.random() < 0.3:
                box[2] = 0.0
            category = int(rng.choice([7, 19, 1000]))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": int(rng.random() < 0.15),
                }
            )
            for _ in range(int(rng.integers(0, 4))):
                detections.append((np.array(box) + rng.normal(0, 0.08, 4) * size, category))
        for _ in range(120 if image_id == 3 else int(rng.integers(0, 6))):  # more than 100 count
            box = np.concatenate([rng.uniform(0, 300, 2), rng.uniform(4, 150, 2)])
            detections.append((box, int(rng.choice([7, 19, 1000]))))
        for box, category in detections:
            results.append(
                {
                    "image_id": image_id,
                    "category_id": category,
                    "bbox": box.clip(0.5).tolist(),
                    "score": float(rng.random()),
                }
            )
    return CocoSet("-", images, annotations, CATEGORIES), results


def twelve_numbers(coco_set: CocoSet, results: list[Json], backend: str) -> np.ndarray:
    image_ids = [image["id"] for image in coco_set.images]
    truth = coco_api(copy.deepcopy(coco_set))
    return evaluate_boxes(truth, copy.deepcopy(results), image_ids, backend).stats[:12]


def detection(image: Any, category: Any, box: Sequence[float], score: float = 0.9) -> Json:
    """A detection in COCO's results format."""
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


@contextmanager
def registered_set(
    name: str, folder: Path, content: Json, masks: bool = False, **options: Any
) -> Iterator[None]:
    """Write a set with empty image files into a folder; register it as NAME_train and NAME_val."""
    for image in content["images"]:
        (folder / image["file_name"]).touch()  # no evaluation reads them
    (folder / "val.json").write_text(json.dumps(content))
    split = {"json": str(folder / "val.json"), "images": str(folder)}
    node = {"name": name, "train": split, "val": split, "masks": masks}
    resolve_dataset(OmegaConf.create(node), **options)
    yield
    for registered in (f"{name}_train", f"{name}_val"):
        DatasetCatalog.remove(registered)
    for registered in (f"{name}_train", f"{name}_val", f"{name}_val_checked"):
        MetadataCatalog.pop(registered, None)


def process(
    evaluator: CocoEvaluator, sizes: Mapping[Any, tuple[int, int]], detections: Sequence[tuple]
) -> None:
    """Hand detections (image id, class index, box xyxy, score) to an evaluator.

    ``sizes``: (height, width) by image id.
    """
    evaluator.reset()
    for image_id, size in sizes.items():
        mine = [each for each in detections if each[0] == image_id]
        instances = Instances(size)
        instances.pred_boxes = Boxes(torch.tensor([each[2] for each in mine]).float().view(-1, 4))
        instances.scores = torch.tensor([each[3] for each in mine])
        instances.pred_classes = torch.tensor([each[1] for each in mine]).long()
        evaluator.process([{"image_id": image_id}], [{"instances": instances}])

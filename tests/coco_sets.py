"""Annotated sets and detections drawn at random, and their numbers by both backends."""

import copy
from typing import Any

import numpy as np

from stageinteractor.data.coco_format import CocoSet
from stageinteractor.evaluation.coco import coco_api, evaluate_boxes

Json = dict[str, Any]
BOTH = ("pycocotools", "faster-coco-eval")
CATEGORIES = [
    {"id": 7, "name": "person"},
    {"id": 19, "name": "car"},
    {"id": 1000, "name": "dog"},
]


def random_set(rng: np.random.Generator, faulty_boxes: bool = False) -> tuple[CocoSet, list[Json]]:
    """20 images, every fourth without objects, and detections near the objects and elsewhere."""
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

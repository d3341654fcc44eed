"""Mask AP: equal by both backends, worked out by hand, and refused without masks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coco_sets import BOTH, CATEGORIES, process, registered_set
from detectron2.structures import Boxes, Instances

from stageinteractor.data.segmentation import encode_mask
from stageinteractor.errors import ConfigError
from stageinteractor.evaluation import CocoEvaluator

SIZE = 100, 100


def block(x: int, y: int, w: int, h: int) -> np.ndarray:
    pixels = np.zeros(SIZE, dtype=bool)
    pixels[y : y + h, x : x + w] = True
    return pixels


@pytest.fixture
def content() -> dict[str, Any]:
    """Four images of objects with polygons, RLE and compressed RLE, one of them a crowd."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for image_id in range(1, 5):
        name = f"{image_id}.png"
        images.append({"id": image_id, "file_name": name, "height": 100, "width": 100})
        for index in range(3):
            x, y, w, h = (int(value) for value in rng.integers([0, 0, 12, 12], [60, 60, 40, 40]))
            corners = [x, y, x + w, y, x + w, y + h, x, y + h]
            outline: Any = [corners] if index == 0 else encode_mask(block(x, y, w, h))
            if index == 2:
                before, between = x * 100 + y, 100 - h
                runs = [before, *([h, between] * (w - 1)), h]
                outline = {"size": [100, 100], "counts": [*runs, 10000 - sum(runs)]}
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": CATEGORIES[index]["id"],
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": int(image_id == 4 and index == 2),
                    "segmentation": outline,
                }
            )
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


def predict(evaluator: CocoEvaluator, content: Any, noise: int, dtype: Any = torch.bool) -> None:
    """Shifted masks with the exact boxes."""
    evaluator.reset()
    rng = np.random.default_rng(1)
    classes = {category["id"]: index for index, category in enumerate(CATEGORIES)}
    for image in content["images"]:
        mine = [each for each in content["annotations"] if each["image_id"] == image["id"]]
        boxes = np.array([each["bbox"] for each in mine])
        shifts = rng.integers(-noise, noise + 1, (len(mine), 2))
        masks = [
            block(*(box[:2] + shift).clip(0), *box[2:])
            for box, shift in zip(boxes, shifts, strict=True)
        ]
        boxes[:, 2:] += boxes[:, :2]
        instances = Instances(
            SIZE,
            pred_boxes=Boxes(torch.tensor(boxes).float()),
            scores=torch.tensor(rng.random(len(mine))),
            pred_classes=torch.tensor([classes[each["category_id"]] for each in mine]),
            pred_masks=torch.tensor(np.stack(masks)).to(dtype),
        )
        evaluator.process([{"image_id": image["id"]}], [{"instances": instances}])


@pytest.fixture
def measure(content: Any, tmp_path: Path) -> Any:
    def run(backend: str, noise: int, **options: Any) -> Any:
        with registered_set("masked", tmp_path, content, masks=True):
            folder = str(tmp_path / "evaluation")
            evaluator = CocoEvaluator("masked_val", folder, backend, masks=True, **options)
            predict(evaluator, content, noise, torch.float if backend == "auto" else torch.bool)
            return evaluator.evaluate()

    return run


def test_backends_give_the_same_mask_ap(measure: Any):
    slow, fast = (measure(backend, noise=6, nms_threshold=0.5) for backend in BOTH)
    assert set(slow) == {"bbox", "segm", "bbox_nms", "segm_nms", "best_f1"}
    assert slow["bbox"]["AP"] == pytest.approx(100)
    assert 10 < slow["segm"]["AP"] < 90
    for task, numbers in slow.items():
        np.testing.assert_allclose(
            list(fast[task].values()), list(numbers.values()), rtol=0, atol=1e-9, err_msg=task
        )


def test_exact_masks_give_ap_100_and_files(measure: Any, tmp_path: Path):
    metrics = measure("auto", noise=0)
    assert metrics["segm"]["AP"] == metrics["segm"]["AP-car"] == pytest.approx(100)
    folder = tmp_path / "evaluation"
    assert json.loads((folder / "metrics_segm.json").read_text())["AP"] == pytest.approx(100)
    results = json.loads((folder / "coco_instances_results.json").read_text())
    assert all(result["segmentation"]["size"] == [100, 100] for result in results)


def test_masks_are_left_out_of_a_box_evaluation(content: Any, tmp_path: Path, measure: Any):
    measure("auto", noise=0)
    with registered_set("boxed", tmp_path, content):
        folder = tmp_path / "evaluation"
        evaluator = CocoEvaluator("boxed_val", str(folder))
        predict(evaluator, content, noise=0)
        assert set(evaluator.evaluate()) == {"bbox", "best_f1"}
    results = json.loads((folder / "coco_instances_results.json").read_text())
    assert not any("segmentation" in result for result in results)
    assert not (folder / "metrics_segm.json").exists()  # that of the evaluation before


def test_a_model_without_masks_is_refused(content: Any, tmp_path: Path):
    with registered_set("refused", tmp_path, content, masks=True):
        evaluator = CocoEvaluator("refused_val", str(tmp_path / "out"), masks=True)
        with pytest.raises(ConfigError, match="dataloader.evaluator.masks"):
            process(evaluator, {1: SIZE}, [])

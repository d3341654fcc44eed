"""Trainings on sets whose image ids are texts, or larger than a double can tell apart."""

import json
import math
from pathlib import Path

import pytest
from two_processes import run_in_two_processes

IDS = ["frame_0000", "7", 7, 0, -1, 2**53, 2**53 + 1, 2**64]


@pytest.fixture
def odd_ids(shapes_set: Path, tmp_path: Path) -> list[str]:
    """Overrides that validate on the shapes under other ids."""
    text = (shapes_set / "val.json").read_text()
    content = json.loads(text)
    new = {image["id"]: i for image, i in zip(content["images"], IDS, strict=True)}
    category = {each["id"]: 2**53 + i for i, each in enumerate(content["categories"])}
    for image in content["images"]:
        image["id"] = new[image["id"]]
    for box in content["annotations"]:
        box |= {"image_id": new[box["image_id"]], "category_id": category[box["category_id"]]}
    for each in content["categories"]:
        each["id"] = category[each["id"]]
    file = tmp_path / "val.json"
    file.write_text(json.dumps(content))
    images = [f"dataset.{split}.images={shapes_set}/val" for split in ("train", "val")]
    return [f"dataset.train.json={file}", f"dataset.val.json={file}", *images]


def test_training_keeps_text_and_huge_ids(call, small_run, odd_ids, tmp_path):
    nms = "dataloader.evaluator.nms_threshold=0.5"
    call("train.max_iter=1", *small_run, *odd_ids, nms)
    folder = tmp_path / "run/evaluation"
    for suffix in ("", "_nms"):
        assert not math.isnan(json.loads((folder / f"metrics{suffix}.json").read_text())["AP"])
        results = json.loads((folder / f"coco_instances_results{suffix}.json").read_text())
        assert {each["image_id"] for each in results} == set(IDS)
        assert {each["category_id"] for each in results} <= {2**53, 2**53 + 1, 2**53 + 2}


SCRIPT = """
import json
import torch
import torch.distributed as dist
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from omegaconf import OmegaConf
from stageinteractor.data.registration import resolve_dataset
from stageinteractor.evaluation import CocoEvaluator

dist.init_process_group("gloo")
comm.create_local_process_group(2)
folder, ids = {folder!r}, ["frame_0000", "7", 7, 2**53 + 1]
split = {{"json": folder + "/val.json", "images": folder}}
resolve_dataset(OmegaConf.create({{"name": "two", "train": split, "val": split}}))
evaluator = CocoEvaluator("two_val", folder + "/out", nms_threshold=0.5)
evaluator.reset()
for image_id in ids[dist.get_rank()::2]:
    instances = Instances((99, 99), pred_boxes=Boxes(torch.tensor([[0.0, 0, 40, 40]])))
    instances.scores, instances.pred_classes = torch.tensor([0.9]), torch.tensor([0])
    evaluator.process([{{"image_id": image_id}}], [{{"instances": instances}}])
metrics = evaluator.evaluate()
if dist.get_rank() == 0:
    assert metrics["bbox"]["AP"] > 99.9 and metrics["bbox_nms"]["AP"] > 99.9, metrics
    results = json.load(open(folder + "/out/coco_instances_results.json"))
    assert {{each["image_id"] for each in results}} == set(ids), results
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_gather_text_and_huge_ids(tmp_path):
    ids = ["frame_0000", "7", 7, 2**53 + 1]
    content = {
        "images": [
            {"id": i, "file_name": f"{n}.png", "width": 99, "height": 99} for n, i in enumerate(ids)
        ],
        "annotations": [{"image_id": i, "category_id": 2**64, "bbox": [0, 0, 40, 40]} for i in ids],
        "categories": [{"id": 2**64, "name": "disc"}],
    }
    (tmp_path / "val.json").write_text(json.dumps(content))
    for image in content["images"]:
        (tmp_path / image["file_name"]).touch()
    run_in_two_processes(SCRIPT.format(folder=str(tmp_path)), tmp_path)
